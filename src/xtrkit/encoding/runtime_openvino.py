"""Running an exported graph on OpenVINO."""

from __future__ import annotations

from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.runtime_onnx import TOKENS_A_THREAD, thread_count
from xtrkit.errors import ModelError, missing_extra
from xtrkit.forks import ForkLock, keep_for_ever, tell_of_forks
from xtrkit.values import FloatArray


class OpenVinoGraph:
    """A graph in an ``.xml`` file with its ``.bin``, or in an ``.onnx`` file, on the CPU; several threads may call it.

    Attributes:
        threads: how many threads it computes on itself.
        times_as_many: texts in a batch for each that is asked for.
    """

    times_as_many = 1

    def __init__(self, path: Path, threads: int | None = None, precision: str = "fp32") -> None:
        self.threads, self._path, self._precision = thread_count(threads), path, precision
        self._lock = ForkLock()
        self._compiled: Any = None
        self._requests: list[Any] = []
        self._request = local()  # one request serves one thread at a time
        self._open()
        tell_of_forks(self)

    def after_fork(self) -> None:
        """Do without the parent's model, which would wait for its threads when it is destroyed."""
        keep_for_ever(self._compiled)
        keep_for_ever(self._requests)
        self._compiled = None
        self._requests = []
        self._request = local()

    def _open(self) -> None:
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise missing_extra("Encoding with OpenVINO", "openvino") from error
        # Left alone, OpenVINO computes in bfloat16 wherever the CPU can, and vectors differ from machine to machine.
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if self._precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._compiled = openvino.Core().compile_model(self._path, "CPU", options)
        except RuntimeError as error:
            reason = str(error).strip().split("\n", maxsplit=1)[0]
            raise ModelError(f"{self._path} can't be run by OpenVINO ({reason}): export the model again.") from error

    @property
    def name(self) -> str:
        """What computes."""
        import openvino

        return f"openvino {openvino.__version__.split('-')[0]}"

    @property
    def most_tokens(self) -> int:
        """Tokens of a batch beyond which a larger one gains nothing."""
        return TOKENS_A_THREAD * self.threads

    def run(self, ids: npt.NDArray[np.int64], attended: npt.NDArray[np.int64]) -> FloatArray:
        """(texts, tokens) ids and attention mask -> (texts, tokens, d) float32 vectors."""
        with self._lock:
            if self._compiled is None:
                self._open()
            if not hasattr(self._request, "own"):
                self._request.own = self._compiled.create_infer_request()
                self._requests.append(self._request.own)
        result = self._request.own.infer({"input_ids": ids, "attention_mask": attended})
        return np.array(result[0])  # the request reuses its memory


def convert(source: Path, target: Path) -> None:
    """Write the graph in the ``.onnx`` file ``source`` as OpenVINO's ``target``, an ``.xml`` with its ``.bin``.

    OpenVINO's own conversion from torch would ask the user for permission to report on it.
    """
    import openvino

    openvino.save_model(openvino.Core().read_model(source), target, compress_to_fp16=False)
