"""``xtrkit.json`` of an exported reranker: what is done to texts before its graph. Knows no torch.

A directory that ``xtrkit export`` made of a monoT5 holds ``model.onnx`` (ids and attention mask to one score a text),
``tokenizer.json`` and this file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from xtrkit.encoding.checkpoints import read_object
from xtrkit.encoding.runtime_settings import SETTINGS
from xtrkit.errors import ModelError

GRAPH = "model.onnx"
PRECISIONS = ("fp32", "int8")
_FORMAT, _VERSION = "xtrkit-reranker", 1


@dataclass(frozen=True)
class RerankerSettings:
    """What decides the scores of an exported reranker, beside its graph and its tokenizer.

    Attributes:
        precision: "fp32", or "int8" for the encoder's weights and what they are multiplied with.
        max_length: most tokens of query and document together.
        pad_id: the token that fills a batch up.
        tokens: the two pieces that it answers with, irrelevant first.
        source: sha256 over the files of the checkpoint that it was made from.
        files: sha256 of the graph and the tokenizer.
    """

    precision: str
    max_length: int
    pad_id: int
    tokens: tuple[str, str]
    source: str
    files: dict[str, str]

    def write(self, directory: Path) -> None:
        """Write the file into ``directory``."""
        content = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        (directory / SETTINGS).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def is_exported_reranker(directory: Path) -> bool:
    """Whether ``xtrkit export`` made this directory of a reranker."""
    path = directory / SETTINGS
    return path.is_file() and read_object(path).get("format") == _FORMAT


def read_reranker_settings(directory: Path) -> RerankerSettings:
    """The settings of the exported reranker in ``directory``.

    Raises:
        ModelError: they are missing, damaged, or of another version.
    """
    path = directory / SETTINGS
    content = read_object(path)
    if content.pop("format", None) != _FORMAT or content.pop("version", None) != _VERSION:
        raise ModelError(f"{path} is no reranker's, or of another version than {_VERSION}: export the model again.")
    names = {field.name for field in fields(RerankerSettings)}
    if missing := sorted(names - set(content)):
        raise ModelError(f"{path} lacks {missing[0]!r}: export the model again.")
    first, second = content.pop("tokens")
    return RerankerSettings(**{name: content[name] for name in names - {"tokens"}}, tokens=(first, second))
