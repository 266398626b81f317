"""A checkpoint with fewer pieces: what a model of many languages needs most of its bytes for is its vocabulary.

Texts made of the pieces that are left are cut into the same pieces as before, and have the same vectors; what needed
one of the others is cut into smaller ones, which the unigram model finds by itself.
"""

import json
import shutil
from collections import Counter

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

TABLE = "embeddings.word_embeddings.weight"


def pieces_of(directory, texts):
    """{id of a piece: how often it is in the texts}."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_truncation()
    counts = Counter()
    for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False):
        counts.update(encoding.ids)
    return counts


def keep_pieces(source, target, kept):
    """Copy a checkpoint of BERT's architecture with a unigram vocabulary to ``target``, with some of its pieces.

    Args:
        source: the checkpoint.
        target: the directory to make.
        kept: ids; those of special tokens stay without being named.
    """
    shutil.copytree(source, target)
    settings = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"] for token in settings["added_tokens"]}
    ids = sorted(special | set(kept))
    new = {old: place for place, old in enumerate(ids)}
    model = settings["model"]
    model["vocab"], model["unk_id"] = [model["vocab"][old] for old in ids], new[model["unk_id"]]
    for token in settings["added_tokens"]:
        token["id"] = new[token["id"]]
    for token in settings["post_processor"]["special_tokens"].values():
        token["ids"] = [new[old] for old in token["ids"]]
    if settings.get("padding"):
        settings["padding"]["pad_id"] = new[settings["padding"]["pad_id"]]
    (target / "tokenizer.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    configuration = json.loads((source / "config.json").read_text(encoding="utf-8"))
    configuration |= {"vocab_size": len(ids), "pad_token_id": new[configuration["pad_token_id"]]}
    (target / "config.json").write_text(json.dumps(configuration, indent=1) + "\n", encoding="utf-8")
    weights = load_file(source / "model.safetensors")
    (name,) = (name for name in weights if name.endswith(TABLE))
    weights[name] = np.ascontiguousarray(weights[name][ids])
    save_file(weights, target / "model.safetensors", {"format": "pt"})


def frequent_pieces(tokenizer, words, share):
    """The ids that make ``share`` of what a language's words are made of, the most frequent first.

    Args:
        tokenizer: of the checkpoint.
        words: {word: how frequent it is}, in lower case; words that begin a sentence are counted as a quarter of that.
        share: of all occurrences of pieces, from 0 to 1.
    """
    counts = Counter()
    for texts, weight in ((list(words), 1.0), ([word[:1].upper() + word[1:] for word in words], 0.25)):
        encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for encoding, frequency in zip(encodings, words.values(), strict=True):
            for number in encoding.ids:
                counts[number] += weight * frequency
                _count_inside(tokenizer, counts, number, weight * frequency)
    kept, wanted = [], share * sum(counts.values())
    for number, found in counts.most_common():
        if wanted <= 0:
            break
        kept.append(number)
        wanted -= found
    return kept


def _count_inside(tokenizer, counts, number, weight):
    """Where a script has no spaces between words, most words are inside of what a tokenizer takes for one."""
    piece = tokenizer.id_to_token(number)
    if piece.startswith("▁") and any("\u3040" <= character <= "\u9fff" for character in piece):
        inside = tokenizer.token_to_id(piece[1:])
        if inside is not None:
            counts[inside] += weight
