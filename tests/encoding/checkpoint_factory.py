"""Small checkpoints on disk with random weights, in the exact layouts of the real ones, written by the real classes."""

import json
import shutil
import string
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    MT5Config,
    MT5EncoderModel,
    MT5ForConditionalGeneration,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

WIDTH, DIM = 32, 16
LAYOUTS = ("xtr", "mxtr", "stanford", "pylate", "native", "colxtr")
WORDS = ["the", "retrieval", "token", "late", "what", "is", "xtr", "strasse", "straße", "document"]
ANSWERS = ["true", "false", "Query:", "Document:", "Relevant:", "yes", "no"]
SKIPLIST = list(string.punctuation)


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def projection_weight(seed: int = 7) -> torch.Tensor:
    return torch.randn(DIM, WIDTH, generator=torch.Generator().manual_seed(seed))


def unigram_tokenizer() -> Tokenizer:
    """T5's: pad 0, </s> 1, unk 2, ▁ for a space; small and capital letters differ."""
    letters = string.ascii_letters + string.digits + string.punctuation + "äéßıσςαi̇"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [("▁" + word, -4.0) for word in [*WORDS, *ANSWERS]]
    pieces += [(letter, -8.0) for letter in dict.fromkeys(letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return tokenizer


def wordpiece_tokenizer() -> Tokenizer:
    """bert-base-uncased's: [PAD] 0, [unused0] 1, [unused1] 2, lower-casing in the normalizer."""
    letters = list(string.ascii_lowercase + string.digits)
    words = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SKIPLIST, "日", "本", "ש"]
    words += [*letters, *("##" + letter for letter in letters), *(word for word in WORDS if word.isascii())]
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(mark, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def _write_t5(directory: Path, config_class=T5Config, model_class=T5EncoderModel, **settings) -> Path:
    torch.manual_seed(3)
    sizes = {"d_model": WIDTH, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "vocab_size": 300}
    chosen = {**sizes, "feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0, **settings}
    model = model_class(config_class(**chosen))
    for parameter in model.parameters():  # T5's own initialisation makes all tokens nearly alike
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(directory)
    unigram_tokenizer().save(str(directory / "tokenizer.json"))
    return directory


def write_xtr(directory: Path, multilingual: bool = False) -> Path:
    """google/xtr-base-en: T5 config, 2_Dense/pytorch_model.bin, tokenizer.json alone, no modules.json."""
    _write_t5(directory, *((MT5Config, MT5EncoderModel) if multilingual else ()))
    dense = {"in_features": WIDTH, "out_features": DIM, "bias": False}
    write_json(
        directory / "2_Dense" / "config.json", {**dense, "activation_function": "torch.nn.modules.linear.Identity"}
    )
    torch.save({"linear.weight": projection_weight()}, directory / "2_Dense" / "pytorch_model.bin")
    return directory


def write_colxtr(directory: Path) -> Path:
    """PrimeQA's XTR class: a T5 encoder, and bottleneck.weight among its weights."""
    _write_t5(directory, dim=DIM)
    weights = load_file(directory / "model.safetensors")
    save_file(weights | {"bottleneck.weight": projection_weight()}, directory / "model.safetensors", {"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    write_json(directory / "config.json", {**config, "architectures": ["XTR"]})
    return directory


def write_monot5(directory: Path, multilingual: bool = False, **settings) -> Path:
    """castorini/monot5-*: a whole T5, encoder and decoder; the vocabulary has ▁true and ▁false."""
    classes = (MT5Config, MT5ForConditionalGeneration) if multilingual else (T5Config, T5ForConditionalGeneration)
    return _write_t5(directory, *classes, num_decoder_layers=2, **settings)


def write_cross_encoder(directory: Path, labels: int = 1) -> Path:
    """cross-encoder/*: BERT with a classification head of one output."""
    _write_bert(directory)
    config = BertConfig.from_pretrained(directory, num_labels=labels)
    torch.manual_seed(9)
    BertForSequenceClassification(config).save_pretrained(directory)
    return directory


def _write_bert(directory: Path) -> Path:
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=200, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(directory)
    wordpiece_tokenizer().save(str(directory / "tokenizer.json"))
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True})
    return directory


def write_stanford(directory: Path, metadata: bool = True) -> Path:
    """colbert-ir/colbertv2.0: HF_ColBERT, encoder under `bert.`, linear.weight beside it, artifact.metadata."""
    _write_bert(directory)
    weights = {f"bert.{name}": tensor for name, tensor in load_file(directory / "model.safetensors").items()}
    save_file(weights | {"linear.weight": projection_weight()}, directory / "model.safetensors", {"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    write_json(directory / "config.json", {**config, "architectures": ["HF_ColBERT"]})
    if metadata:
        settings = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 12, "doc_maxlen": 24}
        write_json(
            directory / "artifact.metadata", {**settings, "attend_to_mask_tokens": False, "mask_punctuation": True}
        )
    return directory


def write_pylate(directory: Path) -> Path:
    """PyLate 1.x: model_type ColBERT, class references into pylate, prefixes and lengths at the top level."""
    _write_bert(directory)
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    write_json(
        directory / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)],
    )
    write_json(directory / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})
    settings = {"query_prefix": "[unused0] ", "document_prefix": "[unused1] ", "query_length": 12}
    settings |= {"document_length": 24, "attend_to_expansion_tokens": False, "skiplist_words": SKIPLIST}
    write_json(directory / "config_sentence_transformers.json", {**settings, "model_type": "ColBERT", "prompts": {}})
    dense = {"in_features": WIDTH, "out_features": DIM, "bias": False}
    write_json(
        directory / "1_Dense" / "config.json", {**dense, "activation_function": "torch.nn.modules.linear.Identity"}
    )
    save_file({"linear.weight": projection_weight()}, directory / "1_Dense" / "model.safetensors")
    return directory


def copy_of(directory: Path, target: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(directory, target))
