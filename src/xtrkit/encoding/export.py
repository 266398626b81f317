"""``xtrkit export``: a checkpoint -> a directory with which texts are encoded without torch, or nothing.

Exporters are known to be silently wrong (T5's relative positions, padding), so each export is encoded with beside its
torch original before it gets its name.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from xtrkit.encoding.base import Encoder
from xtrkit.encoding.export_samples import SAMPLES, agreement
from xtrkit.encoding.load import load_encoder
from xtrkit.encoding.new_directory import check_new, new_directory
from xtrkit.encoding.runtime_encoder import open_exported
from xtrkit.encoding.runtime_openvino import convert
from xtrkit.encoding.runtime_settings import GRAPHS, PRECISIONS, file_hash
from xtrkit.encoding.text_encoder import Opening
from xtrkit.errors import ExportError, InputError, missing_extra
from xtrkit.values import Ragged

if TYPE_CHECKING:
    from xtrkit.encoding.torch_encoder import TorchEncoder

# The lowest cosine that any token may have to its torch original.
LOWEST_COSINE = {"fp32": 0.999, "bf16": 0.99, "int8": 0.99}
_NEEDED = {"onnx": {"onnx": "export"}, "openvino": {"onnx": "export", "openvino": "openvino"}}


@dataclass(frozen=True)
class Export:
    """What :func:`export` did.

    Attributes:
        path: the directory.
        size: bytes in it.
        tokens: how many tokens were compared with torch.
        lowest_cosine: of the worst of them.
    """

    path: Path
    size: int
    tokens: int
    lowest_cosine: float


def export(
    model: str | Path,
    path: str | Path,
    *,
    runtime: str = "onnx",
    precision: str = "fp32",
    table_bits: int = 8,
    query_length: int | None = None,
    document_length: int | None = None,
    nprobe: int | None = None,
) -> Export:
    """Export a model, so that it can be encoded with without torch.

    Args:
        model: as :func:`~xtrkit.encoding.load.load_encoder` takes it.
        path: the directory to make; it appears when the export was compared with torch and found right.
        runtime: "onnx" or "openvino".
        precision: "fp32"; "int8" is about a quarter of the size and up to twice as fast; "bf16" (openvino only)
            computes in bfloat16 where the CPU can.
        table_bits: of the table of the vocabulary, with "int8": 8, or 4, which halves what a large one takes.
        query_length: as in ``load_encoder``.
        document_length: as in ``load_encoder``.
        nprobe: how many clusters XTR shall open for a query token in indexes of this model, where the caller doesn't
            say; None is as many as usual. Models whose best tokens stand out little need more: ``xtrkit sweep`` tells.

    Raises:
        ExportError: the exporter failed, or a token's vector is not what torch gives.
        ModelError: the model can't be loaded.
        MissingExtraError: a package that exporting needs isn't installed.
        InputError: a choice that doesn't exist, or ``path`` can't be made: it is there, or the folder above it isn't.
    """
    path = Path(path)
    _check(path, runtime, precision, table_bits)
    if nprobe is not None and (isinstance(nprobe, bool) or not isinstance(nprobe, int) or nprobe < 1):
        raise InputError(f"nprobe must be a whole number of at least 1, got {nprobe!r}.")
    encoder = load_encoder(model, device="cpu", query_length=query_length, document_length=document_length)
    try:
        from xtrkit.encoding.torch_encoder import TorchEncoder
    except ModuleNotFoundError as error:
        raise missing_extra("Exporting", "export") from error
    if not isinstance(encoder, TorchEncoder):
        raise InputError(f"{model} is an export already: export the checkpoint that it was made from.")
    expected = {task: _encode(encoder, task) for task in ("query", "document")}
    with new_directory(path) as directory:
        _write(encoder, directory, runtime, precision, table_bits, nprobe)
        exported = open_exported(Opening(str(path), runtime=runtime), directory)
        tokens, lowest = _compare(expected, exported, LOWEST_COSINE[precision])
    return Export(path, sum(file.stat().st_size for file in path.iterdir()), tokens, lowest)


def _check(path: Path, runtime: str, precision: str, table_bits: int) -> None:
    if runtime not in GRAPHS:
        raise InputError(f"Unknown runtime {runtime!r}: use {' or '.join(GRAPHS)}.")
    if precision not in PRECISIONS:
        raise InputError(f"Unknown precision {precision!r}: use {', '.join(PRECISIONS)}.")
    if (runtime, precision) == ("onnx", "bf16"):
        raise InputError("ONNX Runtime doesn't compute in bf16 on a CPU: use int8, or openvino.")
    if table_bits not in (4, 8) or (table_bits == 4 and precision != "int8"):
        raise InputError(f"table_bits is 8, or 4 with precision='int8', got {table_bits} with {precision!r}.")
    check_new(path)
    for package, extra in _NEEDED[runtime].items():
        if find_spec(package) is None:
            raise missing_extra(f"Exporting to {runtime}", extra)


def _write(
    encoder: TorchEncoder, directory: Path, runtime: str, precision: str, table_bits: int, nprobe: int | None
) -> None:
    from xtrkit.encoding.export_graph import settings_of, write_graph

    settings = settings_of(encoder, runtime=runtime, precision=precision, source=encoder.content)
    write_graph(encoder, directory)
    if precision == "int8":
        from xtrkit.encoding.export_int8 import quantise

        quantise(directory / "model.onnx", directory / "quantised.onnx", table_bits)
        (directory / "quantised.onnx").replace(directory / "model.onnx")
    if runtime == "openvino":
        convert(directory / "model.onnx", directory / "model.xml")
        (directory / "model.onnx").unlink()
    files = {file.name: file_hash(file) for file in sorted(directory.iterdir())}
    replace(settings, files=files, nprobe=nprobe).write(directory)


def _encode(encoder: Encoder, task: str) -> Ragged:
    return encoder.encode_queries(SAMPLES) if task == "query" else encoder.encode_documents(SAMPLES)


def _compare(expected: dict[str, Ragged], exported: Encoder, threshold: float) -> tuple[int, float]:
    """How many tokens were compared, and the lowest cosine among them.

    Raises:
        ExportError: it is below ``threshold``, or texts have other numbers of tokens.
    """
    lowest, tokens = 1.0, 0
    for task, right in expected.items():
        found = _encode(exported, task)
        for number, text in enumerate(SAMPLES):
            if len(found[number]) != len(right[number]):
                raise ExportError(
                    f"The export gives {len(found[number])} vectors for the {task} {_shown(text)}, torch gives "
                    f"{len(right[number])}: this model's texts are prepared in a way that exports can't keep."
                )
            cosines = agreement(found[number], right[number])
            worst = int(cosines.argmin())
            if not cosines[worst] >= threshold:
                token = (exported.query_tokens if task == "query" else exported.document_tokens)(text)[worst]
                raise ExportError(
                    f"The export is not the model: token {worst} ({token.piece!r}) of the {task} {_shown(text)} has a "
                    f"cosine of {cosines[worst]:.4f} to torch's vector, {threshold} is the least. Nothing was written."
                )
            lowest, tokens = min(lowest, float(cosines[worst])), tokens + len(cosines)
    return tokens, lowest


def _shown(text: str) -> str:
    return repr(text if len(text) < 40 else text[:39] + "…")
