"""Running an exported graph on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.onnx_file import OnnxFile
from xtrkit.errors import InputError, MissingExtraError, ModelError
from xtrkit.forks import ForkLock, keep_for_ever, tell_of_forks
from xtrkit.machine import usable_cores
from xtrkit.values import FloatArray

# On one core, a batch of 256 to 512 tokens is encoded fastest: smaller ones read the weights too often, larger ones
# fall out of the caches, and more of them is padding.
TOKENS_A_THREAD = 512


class OnnxGraph:
    """A graph in an ``.onnx`` file, on the CPU; several threads may call it, and forked children open it again.

    Attributes:
        threads: how many threads it computes on itself.
        times_as_many: texts in a batch for each that is asked for.
        full: whether weights of 8 bits are multiplied in full precision.
    """

    times_as_many = 1

    def __init__(self, path: Path, threads: int | None = None, *, full: bool = False) -> None:
        self.threads, self.full, self._path, self._lock = thread_count(threads), full, path, ForkLock()
        self._session = self._opened()
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        tell_of_forks(self)

    def after_fork(self) -> None:
        """Do without the parent's session, which would wait for its threads when it is destroyed."""
        keep_for_ever(self._session)
        self._session = None

    def _opened(self) -> Any:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingExtraError("Encoding text needs onnxruntime: run pip install onnxruntime.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Threads that spin between two small operations take the cores from the search.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A plan of memory is kept for each shape of a batch, and there is no end of shapes.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        graph = OnnxFile(self._path).unpacked() if self.full else self._path
        try:
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own errors have no base that it exports
            reason = str(error).strip().split("\n", maxsplit=1)[0]
            raise ModelError(f"{self._path} can't be run by onnxruntime ({reason}): export the model again.") from error

    @property
    def name(self) -> str:
        """What computes."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}"

    @property
    def most_tokens(self) -> int:
        """Tokens of a batch beyond which a larger one gains nothing."""
        return TOKENS_A_THREAD * self.threads

    def run(self, ids: npt.NDArray[np.int64], attended: npt.NDArray[np.int64]) -> FloatArray:
        """(texts, tokens) ids and attention mask -> (texts, tokens, d) float32 vectors."""
        with self._lock:
            session = self._session = self._session or self._opened()
        # Graphs exported elsewhere may want to be told that all tokens are of one segment.
        given = {"input_ids": ids, "attention_mask": attended, "token_type_ids": np.zeros_like(ids)}
        (vectors,) = session.run(None, {name: given[name] for name in self._inputs})
        return vectors  # type: ignore[no-any-return]


def thread_count(threads: int | None) -> int:
    """How many threads to compute on: those asked for, or all that this process may use.

    Raises:
        InputError: fewer than one.
    """
    if threads is None:
        return usable_cores()
    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}.")
    return threads
