"""How xtrkit-multi gets into its package: pieces by their frequency in each language, 4-bit table, int8 layers.

    pip install wordfreq
    python benchmarks/xtrkit_multi_package.py --model WORK/model --out EXPORT

MODEL is what ``xtrkit_multi.py`` made. Of its 250,002 pieces those stay that words of 42 languages are made of, the
most frequent first, by the frequency lists of ``wordfreq`` (which are looked at, and not shipped); a share of those of
each script that has no such list, by their scores; and every single character. Nothing is chosen by a text that is
searched in an evaluation.
"""

import argparse
import json
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import wordfreq
from tokenizers import Tokenizer
from vocabulary import frequent_pieces, keep_pieces

from xtrkit.encoding.export import export

# Of all pieces in a language's words, how many are in the vocabulary as they are: of languages that most users have,
# and of the others.
SHARES = dict.fromkeys(("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "zh", "ja", "ko", "ar", "tr"), 0.97)
OTHER_SHARE = 0.82
# Of the pieces in a script that none of the lists is in.
SCRIPT_SHARE = 0.25
QUERY_LENGTH, DOCUMENT_LENGTH = 256, 512
NPROBE = 128  # docs/evaluation.md, XQuAD


def script(piece):
    """The script of most of a piece's letters; None where it has none."""
    names = [unicodedata.name(letter, "?").split()[0] for letter in piece if unicodedata.category(letter)[0] in "LM"]
    return Counter(names).most_common(1)[0][0] if names else None


def chosen_pieces(directory):
    """The ids that stay."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    vocabulary = [piece for piece, _ in json.loads((directory / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]]
    kept = {number for number, piece in enumerate(vocabulary) if len(piece.lstrip("▁")) <= 1}
    for language in sorted(wordfreq.available_languages("best")):
        words = wordfreq.get_frequency_dict(language, wordlist="best")
        kept |= set(frequent_pieces(tokenizer, words, SHARES.get(language, OTHER_SHARE)))
    of_script = {}
    for number, piece in enumerate(vocabulary):  # in the order of their scores
        of_script.setdefault(script(piece), []).append(number)
    words_have = {script(vocabulary[number]) for number in kept if len(vocabulary[number].lstrip("▁")) > 1}
    for name, numbers in of_script.items():
        if name not in words_have:
            kept |= set(numbers[: int(len(numbers) * SCRIPT_SHARE)])
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pieces", type=Path, help="keep the ids in this file, or write them there")
    arguments = parser.parse_args()
    if arguments.pieces and arguments.pieces.is_file():
        kept = json.loads(arguments.pieces.read_text(encoding="utf-8"))
    else:
        kept = sorted(chosen_pieces(arguments.model))
        if arguments.pieces:
            arguments.pieces.write_text(json.dumps(kept), encoding="utf-8")
    print(f"{len(kept):,} pieces", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "model"
        keep_pieces(arguments.model, small, kept)
        lengths = {"query_length": QUERY_LENGTH, "document_length": DOCUMENT_LENGTH}
        print(export(small, arguments.out, precision="int8", table_bits=4, nprobe=NPROBE, **lengths))


if __name__ == "__main__":
    main()
