"""``xtrkit.json``: what an exported model says about itself, so that it can be run without its torch original.

A directory that ``xtrkit export`` wrote holds the graph (``model.onnx``, or ``model.xml`` and ``model.bin``), the
tokenizer (``tokenizer.json``) and this file. The graph takes ``input_ids`` and ``attention_mask``, (texts, tokens)
int64 both, and gives (texts, tokens, d) float32; everything else that the layout of the source did to texts and
vectors is written here as values.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral
from pathlib import Path
from typing import Any

from xtrkit.encoding.base import Task
from xtrkit.encoding.checkpoints import read_object
from xtrkit.errors import InputError, ModelError

SETTINGS = "xtrkit.json"
TOKENIZER = "tokenizer.json"
GRAPHS = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin")}
PRECISIONS = ("fp32", "bf16", "int8")
_FORMAT, _VERSION = "xtrkit-encoder", 1
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Expansion:
    """ColBERT's augmentation of queries with [MASK] tokens.

    Attributes:
        token_id: the token that fills a query up.
        length: up to how many tokens.
        fixed: whether longer queries are cut off there; otherwise they stay longer.
        attend: whether the other tokens see the filling.
    """

    token_id: int
    length: int
    fixed: bool
    attend: bool


@dataclass(frozen=True)
class RuntimeSettings:
    """What decides the token embeddings of an exported model, beside its graph and its tokenizer.

    Attributes:
        layout: the layout of the source checkpoint, such as ``"xtr"``.
        runtime: what runs the graph: ``"onnx"`` or ``"openvino"``.
        precision: ``"fp32"``; ``"bf16"`` computes, ``"int8"`` stores and computes in fewer bits.
        dim: d, dimensions of a token vector.
        query_prompt: what is put before a query.
        document_prompt: what is put before a document.
        query_length: most tokens of a query, markers included.
        document_length: most tokens of a document, markers included.
        longest: most tokens that the model has positions for; None where there is no such limit.
        lower_case: whether texts are lower-cased before the tokenizer gets them.
        pad_id: the token that fills a batch up.
        expansion: how queries are augmented; None if they aren't.
        skipped_ids: tokens that have no vector, as punctuation in ColBERT.
        skipped_in: for which tasks.
        only_ids: the only tokens of a document that have a vector; None for all.
        sequence_mean: whether the last token gets the sum of the text's vectors over the longest length (ColXTR).
        normalise: whether the vectors are still to be given unit length: the graph did not.
        score_reduction: how the similarities of a query's tokens make a score: ``"mean"`` or ``"sum"``.
        nprobe: how many clusters XTR is to open for a query token where the caller doesn't say; None: as many as usual.
        source: sha256 over the files of the source that decide its embeddings.
        files: sha256 of the graph's files and of the tokenizer.
    """

    layout: str
    runtime: str
    precision: str
    dim: int
    query_prompt: str
    document_prompt: str
    query_length: int
    document_length: int
    longest: int | None
    lower_case: bool
    pad_id: int
    expansion: Expansion | None
    skipped_ids: tuple[int, ...]
    skipped_in: tuple[str, ...]
    only_ids: tuple[int, ...] | None
    sequence_mean: bool
    normalise: bool
    score_reduction: str
    nprobe: int | None
    source: str
    files: dict[str, str]

    def prompt(self, task: Task) -> str:
        """What is put before a text."""
        return self.query_prompt if task == "query" else self.document_prompt

    def limit(self, task: Task) -> int:
        """Most tokens of a text, markers included."""
        return self.query_length if task == "query" else self.document_length

    def truncation(self, task: Task) -> int:
        """Where a text is cut off; a query is not before its augmentation ends."""
        if task == "document" or self.expansion is None:
            return self.limit(task)
        return self.expansion.length if self.expansion.fixed else max(self.query_length, self.expansion.length)

    def with_lengths(self, query_length: int | None, document_length: int | None, markers: dict[str, int]) -> Any:
        """These settings with other lengths; the augmentation of queries goes by their length, too.

        Args:
            query_length: as in ``load_encoder``.
            document_length: as in ``load_encoder``.
            markers: for each task, how many tokens an empty text has.

        Raises:
            InputError: a length that leaves no room for a token of text, or that the model has no positions for.
        """
        most = self.longest or 100_000
        for what, length in (("query", query_length), ("document", document_length)):
            whole = isinstance(length, Integral)
            if length is not None and not (whole and markers[what] < length <= most):
                raise InputError(
                    f"{what}_length must be from {markers[what] + 1} ({markers[what]} markers and a token of text) to "
                    f"{most} for this model, got {length!r}."
                )
        expansion = self.expansion
        if expansion is not None and query_length is not None:
            length = query_length if expansion.fixed else min(query_length, expansion.length)
            expansion = replace(expansion, length=length)
        return replace(
            self,
            query_length=query_length or self.query_length,
            document_length=document_length or self.document_length,
            expansion=expansion,
        )

    def write(self, directory: Path) -> None:
        """Write ``xtrkit.json`` into ``directory``."""
        content = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        (directory / SETTINGS).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_settings(directory: Path) -> RuntimeSettings:
    """The settings of the exported model in ``directory``.

    Raises:
        ModelError: they are missing, damaged, or of a newer format.
    """
    path = directory / SETTINGS
    content = read_object(path)
    if content.pop("format", None) != _FORMAT:
        raise ModelError(f'{path} should say "format": "{_FORMAT}": it isn\'t of a model that xtrkit exported.')
    if content.pop("version", None) != _VERSION:
        raise ModelError(f"{path} is of another version of the format than {_VERSION}: export the model again.")
    names = {field.name for field in fields(RuntimeSettings)}
    if missing := sorted(names - set(content)):
        raise ModelError(f"{path} lacks {missing[0]!r}: export the model again.")
    try:
        expansion = None if content["expansion"] is None else Expansion(**content["expansion"])
        only = content["only_ids"]
        settings = RuntimeSettings(
            **{name: content[name] for name in names - {"expansion", "skipped_ids", "skipped_in", "only_ids"}},
            expansion=expansion,
            skipped_ids=tuple(content["skipped_ids"]),
            skipped_in=tuple(content["skipped_in"]),
            only_ids=None if only is None else tuple(only),
        )
    except TypeError as error:
        raise ModelError(f"{path} is damaged ({error}): export the model again.") from error
    if settings.runtime not in GRAPHS or settings.precision not in PRECISIONS:
        raise ModelError(
            f"{path} asks for runtime {settings.runtime!r} at {settings.precision!r}: known are {', '.join(GRAPHS)} "
            f"at {', '.join(PRECISIONS)}."
        )
    if settings.nprobe is not None and (type(settings.nprobe) is not int or settings.nprobe < 1):
        raise ModelError(f"{path} asks for {settings.nprobe!r} clusters a query token: it must be a number, or null.")
    return settings


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
