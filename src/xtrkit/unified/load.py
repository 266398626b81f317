"""Open or make a UR²N directory, without torch until it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xtrkit.encoding.checkpoints import MONOT5, UR2N, recognise
from xtrkit.encoding.load import find_checkpoint, torch_needed
from xtrkit.encoding.text_encoder import pickled_hint
from xtrkit.errors import InputError, ModelError

if TYPE_CHECKING:
    from xtrkit.unified.model import UnifiedModel


def load_unified(
    name_or_path: str | Path,
    *,
    device: str | None = None,
    query_length: int | None = None,
    document_length: int | None = None,
) -> UnifiedModel:
    """Load a UR²N: an encoder and a reranker that share all but their last blocks.

    Args:
        name_or_path: its directory, or its name on the Hugging Face hub.
        device: "cpu", "cuda", …; by default what torch finds.
        query_length: most tokens of a query in retrieval; by default the model's own.
        document_length: most tokens of a document in retrieval; by default the model's own.

    Raises:
        ModelError: no such model, or one that lacks something.
        MissingExtraError: torch or sentence-transformers isn't installed.
    """
    name = str(Path(name_or_path).resolve()) if Path(name_or_path).is_dir() else str(name_or_path)
    directory = find_checkpoint(name)
    layout = recognise(directory)
    if layout != UR2N:
        hint = ": make one of it with xtrkit ur2n init" if layout == MONOT5 else ""
        raise ModelError(f"{directory} is no UR²N but of layout {layout.name}{hint}.")
    with torch_needed("UR²N"):
        from xtrkit.unified.model import UnifiedModel

        return UnifiedModel.load(
            name, directory, device=device, query_length=query_length, document_length=document_length
        )


def load_again(name: str, device: str | None, query_length: int | None, document_length: int | None) -> UnifiedModel:
    """The UR²N that was pickled; arguments as of :func:`load_unified`.

    Raises:
        ModelError: there is no model of that name here.
    """
    try:
        return load_unified(name, device=device, query_length=query_length, document_length=document_length)
    except ModelError as error:
        raise ModelError(pickled_hint("UR²N", name, error)) from error


def init_unified(
    monot5: str | Path,
    path: str | Path,
    *,
    dim: int = 128,
    normalise: bool = False,
    query_length: int | None = None,
    document_length: int | None = None,
    tokens: tuple[str, str] | None = None,
    seed: int = 0,
) -> None:
    """Make an untrained UR²N of a monoT5, which goes into it byte for byte.

    Args:
        monot5: directory or hub name of any T5 or mT5 that generates.
        path: directory to make.
        dim: d, dimensions of a token vector.
        normalise: whether token vectors get unit length; the paper says nothing of it.
        query_length: most tokens of a query in retrieval; by default 32.
        document_length: most tokens of a document in retrieval; by default 180.
        tokens: the two pieces that the monoT5 answers with, irrelevant first; by default as for reranking.
        seed: of the projection.

    Raises:
        ModelError: the monoT5 can't be loaded, or isn't one.
        InputError: something is at ``path`` already, or a number can't be used.
    """
    for what, value in (("dim", dim), ("query_length", query_length), ("document_length", document_length)):
        if value is not None and value < 1:
            raise InputError(f"{what} must be at least 1, got {value}.")
    name = str(monot5)
    directory = find_checkpoint(name)
    layout = recognise(directory)
    if layout != MONOT5:
        raise ModelError(f"{directory} is of layout {layout.name}, but a UR²N is made of a monoT5: give one of these.")
    chosen = {"normalise": normalise, "query_length": query_length, "document_length": document_length}
    with torch_needed("UR²N"):
        from xtrkit.unified.model import write_untrained

        write_untrained(
            name,
            directory,
            Path(path),
            dim=dim,
            tokens=tokens,
            seed=seed,
            chosen={key: value for key, value in chosen.items() if value is not None},
        )
