"""What a folder is: files to read each, a test collection, or something that is no texts at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import CollectionError
from xtrkit.texts.document import SourceFile
from xtrkit.texts.files.kinds import ARROW, JSON_LINES, PARQUET, TSV

Names = frozenset[str]

CORPUS_FILES = ("corpus.jsonl", "corpus.jsonl.gz", "corpus.parquet", "collection.tsv", "collection.tsv.gz")
"""What the texts of a test collection are called, the first that is there wins: BEIR's names, and ColBERT's."""

_SHARD = re.compile(r"(?:.*/)?(.+)-(\d{5})-of-(\d{5})(\.jsonl|\.jsonl\.gz|\.parquet)")
_BESIDE = re.compile(r"(queries|qrels|readme|licen[cs]e|dataset_infos?|\.git|corpus$|default$|data$)", re.IGNORECASE)
_JUDGEMENTS = re.compile(r"(queries|qrels)([.\-_/]|$)", re.IGNORECASE)
_READ_AS = {".jsonl": JSON_LINES, ".jsonl.gz": JSON_LINES, ".parquet": PARQUET, ".tsv": TSV, ".tsv.gz": TSV}


class Corpus(NamedTuple):
    """The texts within a folder that holds other things as well.

    Attributes:
        files: which files they are.
        reason: why all others are passed over.
    """

    files: list[SourceFile]
    reason: str


def _any(pattern: str) -> Callable[[Names], bool]:
    compiled = re.compile(pattern)
    return lambda names: any(compiled.fullmatch(name) for name in names)


def _all(*patterns: str) -> Callable[[Names], bool]:
    tests = [_any(pattern) for pattern in patterns]
    return lambda names: all(test(names) for test in tests)


FOREIGN: tuple[tuple[str, Callable[[Names], bool], str], ...] = (
    ("an xtrkit index", _any(r"manifest-\d{12}\.json"), "Search it, or give the texts that it was made of."),
    (
        "an index of ColBERT or PLAID",
        _all(
            r"(metadata|plan)\.json",
            r".*\.codes\.(pt|npy)|centroids\.(pt|npy)|.*\.metadata\.json|codec\.pt|ivf\.(pt|pid\.pt|npy)",
        ),
        "Give the collection that it was made of, such as collection.tsv.",
    ),
    (
        "a model",
        _all(r"config\.json", r".*\.safetensors|pytorch_model.*\.bin|tokenizer\.json|modules\.json|.*\.onnx|onnx"),
        "Give it as --model, and texts here.",
    ),
    ("a model of TensorFlow", _any(r"saved_model\.pb"), "Give texts."),
    ("an index of Lucene", _any(r"segments_[0-9a-z]+"), "Give the texts that it was made of."),
    (
        "a dataset of Lance",
        _all(r"_versions", r"data|_transactions|_indices|.+\.lance"),
        "Give its rows: its to_table() gives what xtrkit reads.",
    ),
    ("a database of LanceDB", _any(r".+\.lance"), "Give the rows of a table: its to_arrow() gives what xtrkit reads."),
    ("a table of Delta Lake", _any(r"_delta_log"), "Its files hold rows that are deleted: give the rows."),
    (
        "an index of FAISS",
        _all(r"index\.faiss", r"index\.pkl|docstore.*|config\.json"),
        "Give the texts that it was made of.",
    ),
    ("a database of Chroma", _any(r"chroma\.sqlite3"), "Give the texts in it."),
    ("an index of bm25s", _all(r"params\.index\.json", r".+\.index\.npy"), "Give the texts that it was made of."),
    ("an index of Tantivy", _all(r"meta\.json", r"[0-9a-f]{32}\.(store|idx|term)"), "Give the texts in it."),
    (
        "an index of Terrier",
        _all(r"data\.properties", r"data\.(lexicon|inverted|meta|direct).*"),
        "Give the texts that it was made of.",
    ),
    ("a virtual environment of Python", _any(r"pyvenv\.cfg"), "Give texts."),
)
"""What is no texts: what it is called, how its files tell, and what to do."""


def foreign(names: Names) -> tuple[str, str] | None:
    """What a folder with these names in it is, if it is no texts, and what to do."""
    return next(((what, remedy) for what, tells, remedy in FOREIGN if tells(names)), None)


def besides(names: Names) -> frozenset[str]:
    """Queries and judgements among these names of a folder, if they belong to a test collection: they are no texts."""
    asking = frozenset(name for name in names if _JUDGEMENTS.match(name))
    is_test = any(name.lower().startswith("qrels") for name in asking) or any(
        name in CORPUS_FILES or name == "corpus" or (name.startswith("corpus-") and _SHARD.fullmatch(name))
        for name in names
    )
    return asking if is_test else frozenset()


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that is something else.

    Raises:
        CollectionError: it is.
    """
    try:
        names = frozenset(os.listdir(folder))
    except OSError as error:
        raise CollectionError(f"{folder} can't be read: {error.strerror}.") from error
    if "dataset_dict.json" in names:
        splits = ", ".join(_splits(folder))
        raise CollectionError(f"{folder} is a saved DatasetDict with the splits {splits}: give one of these folders.")
    if (known := foreign(names)) is not None:
        raise CollectionError(f"{folder} is {known[0]}, no texts. {known[1]}")


def _splits(folder: Path) -> list[str]:
    try:
        return [str(split) for split in json.loads((folder / "dataset_dict.json").read_bytes())["splits"]]
    except (ValueError, KeyError, TypeError, OSError):
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def corpus_of(folder: Path) -> Corpus | None:
    """The texts of a test collection or of a saved dataset; None for a folder whose files are read each.

    Raises:
        CollectionError: it has queries or judgements, and no texts.
    """
    names = frozenset(name for name in os.listdir(folder) if not name.startswith("."))
    for name in CORPUS_FILES:
        if name in names and (folder / name).is_file():
            whose = "ColBERT" if name.startswith("collection") else "BEIR"
            reason = f"not the {'collection' if whose == 'ColBERT' else 'corpus'} of this {whose} folder"
            return Corpus([_file(folder, name)], reason)
    shards = [name for name in names if name.startswith("corpus") and _SHARD.fullmatch(name)]
    if not shards and "corpus" in names and (folder / "corpus").is_dir() and all(map(_BESIDE.match, names)):
        inside = [f"corpus/{name}" for name in os.listdir(folder / "corpus") if not name.startswith(".")]
        shards = [name for name in inside if name.endswith((".jsonl", ".jsonl.gz", ".parquet"))]
    if shards:
        return Corpus(_whole(folder, sorted(shards)), "not the corpus of this BEIR folder")
    if "state.json" in names and any(name.endswith(".arrow") for name in names):
        return Corpus(_saved(folder, names), "not the rows of this saved dataset")
    readable = [name for name in names if not re.match(r"readme|licen[cs]e", name, re.IGNORECASE)]
    if readable and all(map(_JUDGEMENTS.match, readable)):
        raise CollectionError(
            f"{folder} has queries or judgements and no texts ({', '.join(sorted(readable)[:5])}): expected a corpus, "
            "such as corpus.jsonl, beside them."
        )
    return None


def _file(folder: Path, name: str, problem: str = "") -> SourceFile:
    suffix = next(suffix for suffix in (*_READ_AS, "") if name.endswith(suffix))
    return SourceFile(name, folder / name, _READ_AS.get(suffix, ARROW), problem)


def _whole(folder: Path, shards: list[str]) -> list[SourceFile]:
    """Parts of a corpus; those that are missing, by the numbers of the others, are problems."""
    expected = dict.fromkeys(shards)
    for name in shards:
        if found := _SHARD.fullmatch(name):
            before = name[: found.start(2)]
            for number in range(int(found[3])):
                expected[f"{before}{number:05d}-of-{found[3]}{found[4]}"] = None
    return [
        _file(folder, name, "" if name in shards else "is missing: its name follows from those of the other parts.")
        for name in sorted(expected)
    ]


def _saved(folder: Path, names: Names) -> list[SourceFile]:
    """The files of a dataset that datasets saved, in their order."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
        listed = [os.path.basename(file["filename"]) for file in state["_data_files"]]
    except (ValueError, KeyError, TypeError, OSError):
        listed = sorted(name for name in names if name.endswith(".arrow"))
    return [
        SourceFile(name, folder / name, ARROW, "" if name in names else "is missing: state.json names it.")
        for name in listed
    ]
