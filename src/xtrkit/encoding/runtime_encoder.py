"""The encoder that needs no torch: an exported graph, a tokenizer, and NumPy between them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.base import EncodedChunk, Task, Token
from xtrkit.encoding.batching import batches_of
from xtrkit.encoding.checkpoints import identified
from xtrkit.encoding.runtime_settings import TOKENIZER, RuntimeSettings, file_hash, read_settings
from xtrkit.encoding.runtime_text import TextPreparation, marker_counts
from xtrkit.encoding.text_encoder import Opening, TextEncoder, check_texts
from xtrkit.encoding.users_text import UsersText
from xtrkit.errors import InputError, ModelError
from xtrkit.progress import progress_bar
from xtrkit.values import EncoderIdentity, FloatArray, Ragged

# On one core, a batch of 256 to 512 tokens is encoded fastest: smaller ones read the weights too often, larger ones
# fall out of the caches, and more of them is padding.
_TOKENS_A_THREAD = 512


class Graph(Protocol):
    """Something that runs an exported graph; several threads may call it.

    Attributes:
        threads: how many threads it computes on itself.
    """

    threads: int

    def run(self, ids: npt.NDArray[np.int64], attended: npt.NDArray[np.int64]) -> FloatArray:
        """(texts, tokens) ids and attention mask -> (texts, tokens, d) float32 vectors."""


class RuntimeEncoder(TextEncoder):
    """An :class:`~xtrkit.encoding.base.Encoder` over a directory that ``xtrkit export`` wrote.

    Attributes:
        settings: the layout's values, with the lengths in force.
        query_length: most tokens of a query, markers and [MASK]s included.
        document_length: most tokens of a document, markers included.

    Everywhere, ``batch_size`` is the most texts of 128 tokens in a batch; there are fewer where more gain nothing.
    """

    def __init__(
        self,
        name: str,
        files: dict[str, Path],
        settings: RuntimeSettings,
        graph: Graph,
        *,
        threads: int | None = None,
        query_length: int | None = None,
        document_length: int | None = None,
    ) -> None:
        super().__init__(Opening(name, None, threads, query_length, document_length))
        self._files, self._graph = files, graph
        if query_length is not None or document_length is not None:
            markers = marker_counts(files[TOKENIZER], settings)
            settings = settings.with_lengths(query_length, document_length, markers)
        self.settings = settings
        self.query_length, self.document_length = settings.query_length, settings.document_length
        self._texts = TextPreparation(files[TOKENIZER], settings)

    @cached_property
    def identity(self) -> EncoderIdentity:
        """Which model this is; hashes the exported files at the first call.

        In fp32 the identity is the source's: the export was compared with it, token by token, so either may search
        an index that the other made. In fewer bits it is one of its own, which the graph decides.

        Raises:
            ModelError: a file has changed since the export.
        """
        settings = self.settings
        for name, recorded in settings.files.items():
            if file_hash(self._files[name]) != recorded:
                raise ModelError(f"{self._files[name]} has changed since it was exported: export the model again.")
        content = settings.source
        if settings.precision != "fp32":
            parts = [settings.source, settings.precision, *(f"{key} {settings.files[key]}" for key in settings.files)]
            content = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return EncoderIdentity(
            name=self.opening.name,
            layout=settings.layout,
            fingerprint=identified(content, f"{settings.layout} {self.query_length} {self.document_length}"),
            dim=settings.dim,
            query_length=self.query_length,
            document_length=self.document_length,
        )

    def _encode(self, texts: Sequence[str], task: Task, batch_size: int, progress: bool) -> EncodedChunk:
        check_texts(texts, batch_size)
        encoded = self._texts.tokenise([self._beginning(text, task) for text in texts], task)
        most = _TOKENS_A_THREAD * self._graph.threads
        found: list[FloatArray] = [np.empty(0)] * len(encoded)
        bar = progress_bar(f"Encoding {'queries' if task == 'query' else 'documents'}", len(encoded), shown=progress)
        with bar as advance:
            for places in batches_of(self._texts.widths(encoded, task), batch_size, most):
                batch = self._texts.batch([encoded[place] for place in places], task)
                vectors = self._graph.run(batch.ids, batch.attended)
                for place, rows, kept in zip(places, vectors, batch.kept, strict=True):
                    found[place] = self._finished(rows[kept], task)
                advance(len(places))
        truncated = sum(bool(encoding.overflowing) for encoding in encoded)
        return EncodedChunk(Ragged.from_arrays(found, self.settings.dim), truncated)

    @property
    def _users_text(self) -> UsersText:
        return self._texts.users_text

    def _limit(self, task: Task) -> int:
        return self.settings.truncation(task)

    def _counted(self, text: str, task: Task) -> int:
        return self._texts.count(text, task)

    def _pieces(self, text: str) -> tuple[list[str], list[int]]:
        return self._texts.pieces(text)

    def _tokens(self, text: str, task: Task) -> list[Token]:
        return self._texts.tokens(self._beginning(text, task), task)

    def _finished(self, rows: FloatArray, task: Task) -> FloatArray:
        """What the graph left to do for the (tokens, d) vectors of a text."""
        if self.settings.sequence_mean:
            rows = np.concatenate([rows[:-1], rows.sum(axis=0, keepdims=True) / self.settings.limit(task)])
        return _normalised(rows) if self.settings.normalise else rows


def open_exported(
    name: str,
    directory: Path,
    *,
    device: str | None = None,
    threads: int | None = None,
    query_length: int | None = None,
    document_length: int | None = None,
) -> RuntimeEncoder:
    """The encoder in a directory that ``xtrkit export`` wrote.

    Args:
        name: what the user called it.
        directory: where ``xtrkit.json`` and the files that it names lie.
        device: only "cpu" will do.
        threads: how many threads compute; by default as many as the machine lets this process use.
        query_length: as in :func:`~xtrkit.encoding.load.load_encoder`.
        document_length: as in :func:`~xtrkit.encoding.load.load_encoder`.

    Raises:
        ModelError: something is missing or damaged.
        MissingExtraError: the runtime isn't installed.
        InputError: a device or a length that the model can't have.
    """
    if device not in (None, "cpu"):
        raise InputError(f"An exported model runs on the CPU, got device {device!r}: load its torch original instead.")
    settings = read_settings(directory)
    files = {key: directory / key for key in settings.files}
    for file in files.values():
        if not file.is_file():
            raise ModelError(f"{file} is missing: export the model again.")
    graph = _open_graph(files, settings, threads)
    return RuntimeEncoder(
        name, files, settings, graph, threads=threads, query_length=query_length, document_length=document_length
    )


def _open_graph(files: dict[str, Path], settings: RuntimeSettings, threads: int | None) -> Graph:
    if settings.runtime == "onnx":
        from xtrkit.encoding.runtime_onnx import OnnxGraph

        return OnnxGraph(files["model.onnx"], threads)
    from xtrkit.encoding.runtime_openvino import OpenVinoGraph

    return OpenVinoGraph(files["model.xml"], threads, settings.precision)


def _normalised(rows: npt.NDArray[Any]) -> FloatArray:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)  # the smallest that torch divides by
    unit: FloatArray = rows / lengths
    return unit
