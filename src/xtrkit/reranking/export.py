"""``xtrkit export`` of a monoT5: encoder and one decoder step as one graph, compared with torch before it stays."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xtrkit.encoding.checkpoints import MONOT5, UR2N, content_hash, recognise
from xtrkit.encoding.export_samples import SAMPLES
from xtrkit.encoding.load import find_checkpoint, torch_needed
from xtrkit.encoding.new_directory import check_new, new_directory
from xtrkit.encoding.runtime_settings import TOKENIZER, file_hash
from xtrkit.errors import ExportError, InputError, ModelError, missing_extra
from xtrkit.reranking.exported import ExportedMonoT5
from xtrkit.reranking.exported_settings import GRAPH, PRECISIONS, RerankerSettings
from xtrkit.reranking.load import load_reranker
from xtrkit.reranking.prompt import MAX_LENGTH
from xtrkit.values import FloatArray

if TYPE_CHECKING:
    from xtrkit.reranking.monot5 import MonoT5

# The most that log-odds of "true" may be off, where their standard deviation over the samples is 1.
LARGEST_ERROR = {"fp32": 0.001, "int8": 0.5}
_QUERY = SAMPLES[6]


@dataclass(frozen=True)
class RerankerExport:
    """What :func:`export_reranker` did.

    Attributes:
        path: the directory.
        size: bytes in it.
        pairs: how many pairs were compared with torch.
        largest_error: of the log-odds of any of them, in standard deviations of torch's.
    """

    path: Path
    size: int
    pairs: int
    largest_error: float


def is_monot5(model: str | Path) -> bool:
    """Whether a model's directory is a monoT5, which :func:`export_reranker` exports."""
    return Path(model).is_dir() and MONOT5.holds(Path(model))


def export_reranker(
    model: str | Path,
    path: str | Path,
    *,
    precision: str = "fp32",
    tokens: tuple[str, str] | None = None,
    max_length: int = MAX_LENGTH,
) -> RerankerExport:
    """Export a monoT5, so that it reranks without torch, and faster.

    Args:
        model: directory or hub name of a monoT5 or a UR²N.
        path: the directory to make; it appears when the export was compared with torch and found right.
        precision: "fp32", or "int8": about half of the size and one and a half times as fast.
        tokens: as in :func:`~xtrkit.reranking.load.load_reranker`.
        max_length: as there.

    Raises:
        ExportError: the exporter failed, or scores are not torch's.
        ModelError: the model can't be loaded, or is no monoT5.
        MissingExtraError: a package that exporting needs isn't installed.
        InputError: a choice that doesn't exist, or ``path`` can't be made.
    """
    path = Path(path)
    if precision not in PRECISIONS:
        raise InputError(f"A reranker is exported in {' or '.join(PRECISIONS)}, got {precision!r}.")
    check_new(path)
    if find_spec("onnx") is None:
        raise missing_extra("Exporting to onnx", "export")
    directory = find_checkpoint(str(model))
    if recognise(directory) not in (MONOT5, UR2N):
        raise ModelError(f"{directory} is no monoT5, and of rerankers only these are exported: use it with torch.")
    with torch_needed("Exporting"):
        from xtrkit.reranking.monot5 import MonoT5

        loaded = load_reranker(model, device="cpu", tokens=tokens, max_length=max_length)
    assert isinstance(loaded, MonoT5)
    expected = loaded.score(_QUERY, SAMPLES)
    with new_directory(path) as building:
        _write(loaded, directory, building, precision)
        exported = ExportedMonoT5(str(path), building)
        found = exported.score(_QUERY, SAMPLES)
        error = largest_error(found, expected)
        if not error <= LARGEST_ERROR[precision]:
            raise ExportError(
                f"The export is not the model: log-odds of a pair are {error:.3f} standard deviations from torch's, "
                f"{LARGEST_ERROR[precision]} is the most. Nothing was written."
            )
    return RerankerExport(path, sum(file.stat().st_size for file in path.iterdir()), len(expected), error)


def _write(loaded: MonoT5, source: Path, directory: Path, precision: str) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    from xtrkit.encoding.t5 import LOCAL

    # As it came, not as reranking has it read texts.
    tokenizer = Tokenizer.from_str(AutoTokenizer.from_pretrained(source, **LOCAL).backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / TOKENIZER))
    _write_graph(loaded, directory / GRAPH)
    if precision == "int8":
        from xtrkit.reranking.export_int8 import quantise

        quantise(directory / GRAPH, directory / "int8.onnx", _encoder_matrices(loaded.model.encoder))
        (directory / "int8.onnx").replace(directory / GRAPH)
    settings = RerankerSettings(
        precision=precision,
        max_length=loaded.max_length,
        pad_id=int(loaded.model.config.pad_token_id),
        tokens=(loaded.pair.false, loaded.pair.true),
        source=content_hash(source),
        files={},
    )
    replace(settings, files={file.name: file_hash(file) for file in sorted(directory.iterdir())}).write(directory)


def _write_graph(loaded: MonoT5, file: Path) -> None:
    import torch

    from xtrkit.encoding.modules import quiet
    from xtrkit.reranking.one_step import OneStep

    # Two texts of which one is padded: what a trace of a full batch would take for constant differs here.
    ids = torch.full((2, 13), 3)
    attended = torch.ones_like(ids)
    attended[1, 7:] = 0
    names = ["input_ids", "attention_mask"]
    try:
        with quiet(), torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, on what the comparison with torch checks
            torch.onnx.export(
                OneStep(loaded.model, loaded.answers),
                (ids, attended),
                str(file),
                input_names=names,
                output_names=["scores"],
                dynamic_axes={**{name: {0: "texts", 1: "tokens"} for name in names}, "scores": {0: "texts"}},
                opset_version=20,  # the oldest that has GELU as one operation
                dynamo=False,
            )
    except Exception as error:  # exporters raise errors of every kind
        reason = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
        raise ExportError(
            f"The exporter failed on this model ({type(error).__name__}: {reason}): use torch."
        ) from error


def _encoder_matrices(encoder: Any) -> int:
    """How many weights the encoder's tokens are multiplied with: two of attention, and the feed-forward layer's."""
    linear = ("wi", "wi_0", "wi_1", "wo")
    return sum(2 + sum(hasattr(block.layer[1].DenseReluDense, name) for name in linear) for block in encoder.block)


def largest_error(found: FloatArray, expected: FloatArray) -> float:
    """How far log-odds are from the expected ones at most, in standard deviations of these, given log-probabilities."""
    odds = [log_odds(scores) for scores in (found, expected)]
    return float(np.abs(odds[0] - odds[1]).max() / max(float(odds[1].std()), 1e-9))


def log_odds(scores: FloatArray) -> FloatArray:
    """The logarithm of P / (1 - P), given that of P."""
    exact = np.minimum(np.asarray(scores, dtype=np.float64), -1e-12)
    odds: FloatArray = exact - np.log(-np.expm1(exact))
    return odds
