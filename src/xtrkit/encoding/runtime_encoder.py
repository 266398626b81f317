"""The encoder that needs no torch: an exported graph, a tokenizer, and NumPy between them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.base import EncodedChunk, Task, Token
from xtrkit.encoding.batching import batches_of
from xtrkit.encoding.checkpoints import identified
from xtrkit.encoding.export_samples import SAMPLES, agreement
from xtrkit.encoding.runtime_settings import TOKENIZER, RuntimeSettings, file_hash, read_settings
from xtrkit.encoding.runtime_text import TextPreparation, marker_counts
from xtrkit.encoding.text_encoder import Opening, TextEncoder, check_texts
from xtrkit.encoding.users_text import UsersText
from xtrkit.errors import InputError, ModelError, missing_extra
from xtrkit.forks import ForkLock
from xtrkit.machine import multiplies_bytes
from xtrkit.progress import progress_bar
from xtrkit.values import EncoderIdentity, FloatArray, Ragged

RUNTIMES = ("auto", "onnx", "onnx-fp32", "openvino")
"""What encodes the documents of an export: "onnx" is ONNX Runtime as exported, "onnx-fp32" the same with weights of
8 bits multiplied in full precision, "openvino" the same file run by OpenVINO. "auto" is "onnx-fp32" for an export in
int8 on a processor that multiplies bytes no faster than floats (AVX2 without VNNI), and else as exported."""

_LOWEST_COSINE = 0.99
"""That a token's vector of a device may have to that of ONNX Runtime, as an int8 export may have to its original."""


class Graph(Protocol):
    """Something that runs an exported graph; several threads may call it.

    Attributes:
        threads: how many threads it computes on itself.
        times_as_many: texts in a batch for each that is asked for.
    """

    threads: int
    times_as_many: int

    @property
    def name(self) -> str:
        """What computes, and its version."""

    @property
    def most_tokens(self) -> int:
        """Tokens of a batch beyond which a larger one gains nothing."""

    def run(self, ids: npt.NDArray[np.int64], attended: npt.NDArray[np.int64]) -> FloatArray:
        """(texts, tokens) ids and attention mask -> (texts, tokens, d) float32 vectors."""


class Documents(NamedTuple):
    """What encodes documents, where it is not what encodes queries.

    Attributes:
        precision: what is computed in.
        open: gives the graph.
    """

    precision: str
    open: Callable[[], Graph]


class RuntimeEncoder(TextEncoder):
    """An :class:`~xtrkit.encoding.base.Encoder` over a directory that ``xtrkit export`` wrote.

    Attributes:
        settings: the layout's values, with the lengths in force.
        query_length: most tokens of a query, markers and [MASK]s included.
        document_length: most tokens of a document, markers included.

    Everywhere, ``batch_size`` is the most texts of 128 tokens in a batch; there are fewer where more gain nothing, and
    16 times as many on a device.
    """

    def __init__(
        self,
        opening: Opening,
        files: dict[str, Path],
        settings: RuntimeSettings,
        graph: Graph,
        documents: Documents | None = None,
    ) -> None:
        """Take an export apart.

        Args:
            opening: what it is opened with.
            files: its files by name.
            settings: what it says about itself.
            graph: encodes queries.
            documents: what encodes documents; the same graph where it is left out.
        """
        super().__init__(opening)
        self._files, self._graph = files, graph
        lengths = opening.query_length, opening.document_length
        if lengths != (None, None):
            settings = settings.with_lengths(*lengths, marker_counts(files[TOKENIZER], settings))
        self.settings = settings
        self.query_length, self.document_length = settings.query_length, settings.document_length
        self._texts = TextPreparation(files[TOKENIZER], settings)
        self._documents = documents or Documents(settings.precision, lambda: graph)
        self._lock = ForkLock()

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

    @property
    def computed_by(self) -> str:
        """What documents are encoded by, for an index to remember: library, version, device and precision."""
        return f"{self._document_graph.name}, {self._documents.precision}"

    @property
    def nprobe(self) -> int | None:
        """How many clusters XTR is to open for a query token where the caller doesn't say."""
        return self.settings.nprobe

    @cached_property
    def _document_graph(self) -> Graph:
        return self._documents.open()

    def _graph_for(self, task: Task) -> Graph:
        """What encodes; that of documents is opened when the first are there, by one thread."""
        if task == "query":
            return self._graph
        with self._lock:
            return self._document_graph

    def _encode(self, texts: Sequence[str], task: Task, batch_size: int, progress: bool) -> EncodedChunk:
        check_texts(texts, batch_size)
        encoded = self._texts.tokenise([self._beginning(text, task) for text in texts], task)
        graph = self._graph_for(task)
        found: list[FloatArray] = [np.empty(0)] * len(encoded)
        bar = progress_bar(f"Encoding {'queries' if task == 'query' else 'documents'}", len(encoded), shown=progress)
        with bar as advance:
            widths = self._texts.widths(encoded, task)
            for places in batches_of(widths, batch_size * graph.times_as_many, graph.most_tokens):
                batch = self._texts.batch([encoded[place] for place in places], task)
                vectors = graph.run(batch.ids, batch.attended)
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


def open_exported(opening: Opening, directory: Path) -> RuntimeEncoder:
    """The encoder in a directory that ``xtrkit export`` wrote.

    Queries are encoded as the export says, on the CPU: they are short, and their vectors the same everywhere. What
    encodes documents is chosen; how far its vectors may be from those, docs/encoding.md says and tests hold.

    Args:
        opening: as :func:`~xtrkit.encoding.load.load_encoder` takes it.
        directory: where ``xtrkit.json`` and the files that it names lie.

    Raises:
        ModelError: something is missing or damaged, or the graph isn't one that a device can run.
        MissingExtraError: the runtime isn't installed.
        InputError: a device, a runtime or a length that the model can't have.
    """
    settings = read_settings(directory)
    _check_runtime(opening, settings)
    files = {key: directory / key for key in settings.files}
    for file in files.values():
        if not file.is_file():
            raise ModelError(f"{file} is missing: export the model again.")
    graph = _open_graph(files, settings, opening.threads)
    if opening.device in (None, "cpu"):
        return RuntimeEncoder(opening, files, settings, graph, _documents(opening, files, settings))
    on_device = _open_on(str(opening.device), files)
    encoder = RuntimeEncoder(opening, files, settings, graph, on_device)
    _compare(encoder, RuntimeEncoder(opening, files, settings, graph))
    return encoder


def _check_runtime(opening: Opening, settings: RuntimeSettings) -> None:
    runtime, on_cpu = opening.runtime or "auto", opening.device in (None, "cpu")
    if runtime not in RUNTIMES:
        raise InputError(f"Unknown runtime {runtime!r}: use {', '.join(RUNTIMES)}.")
    if not on_cpu and runtime != "auto":
        raise InputError(
            f"On the device {opening.device!r} torch encodes: leave runtime={runtime!r} or the device out."
        )
    if settings.runtime == "openvino" and not (on_cpu and runtime in ("auto", "openvino")):
        raise InputError(
            f"{opening.name} was exported for OpenVINO, which runs it on the CPU: leave device and runtime out, or "
            "export the model for onnx."
        )
    if runtime == "openvino" and find_spec("openvino") is None:
        raise missing_extra("Encoding with OpenVINO", "openvino")


def _open_graph(files: dict[str, Path], settings: RuntimeSettings, threads: int | None) -> Graph:
    if settings.runtime == "onnx":
        from xtrkit.encoding.runtime_onnx import OnnxGraph

        return OnnxGraph(files["model.onnx"], threads)
    from xtrkit.encoding.runtime_openvino import OpenVinoGraph

    return OpenVinoGraph(files["model.xml"], threads, settings.precision)


def _documents(opening: Opening, files: dict[str, Path], settings: RuntimeSettings) -> Documents | None:
    """What encodes documents on the CPU; None where it is what encodes queries."""
    runtime, file, threads = opening.runtime or "auto", files.get("model.onnx"), opening.threads
    if file is None:
        return None
    if runtime == "openvino":
        from xtrkit.encoding.runtime_openvino import OpenVinoGraph

        return Documents(settings.precision, lambda: OpenVinoGraph(file, threads, settings.precision))
    packed = settings.precision == "int8"
    if packed and (runtime == "onnx-fp32" or (runtime == "auto" and not multiplies_bytes())):
        from xtrkit.encoding.runtime_onnx import OnnxGraph

        return Documents("fp32", lambda: OnnxGraph(file, threads, full=True))
    return None


def _open_on(device: str, files: dict[str, Path]) -> Documents:
    """What encodes documents on a device."""
    try:
        from xtrkit.encoding.runtime_torch import TorchGraph
    except ModuleNotFoundError as error:
        raise missing_extra(f"Encoding on the device {device!r}", "torch") from error
    graph = TorchGraph(files["model.onnx"], device)
    return Documents(graph.precision, lambda: graph)


def _compare(encoder: RuntimeEncoder, exported: RuntimeEncoder) -> None:
    """Refuse a device that gives other vectors than the export does.

    Raises:
        ModelError: it does.
    """
    texts = SAMPLES[::3]
    found, right = encoder.encode_documents(texts), exported.encode_documents(texts)
    cosines = agreement(found.rows, right.rows)
    if not cosines.min() >= _LOWEST_COSINE:
        raise ModelError(
            f"On {encoder.opening.device} the vectors are not those of {encoder.opening.name}: a token has a cosine of "
            f"{cosines.min():.4f} to the export's, {_LOWEST_COSINE} is the least. Encode on the CPU."
        )


def _normalised(rows: npt.NDArray[Any]) -> FloatArray:
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)  # the smallest that torch divides by
    unit: FloatArray = rows / lengths
    return unit
