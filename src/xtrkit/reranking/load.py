"""Open a reranker by name or path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xtrkit.encoding.checkpoints import CROSS_ENCODER, MONOT5, UR2N, recognise
from xtrkit.encoding.load import find_checkpoint, torch_needed
from xtrkit.encoding.text_encoder import pickled_hint
from xtrkit.errors import InputError, ModelError
from xtrkit.reranking.base import Reranker
from xtrkit.reranking.exported_settings import is_exported_reranker
from xtrkit.reranking.prompt import MAX_LENGTH


def load_reranker(
    name_or_path: str | Path,
    *,
    device: str | None = None,
    tokens: tuple[str, str] | None = None,
    max_length: int | None = None,
    threads: int | None = None,
) -> Reranker:
    """Load a reranker.

    Args:
        name_or_path: the directory or the hub name of a monoT5 (any T5 or mT5 that generates), of a UR²N, or of a
            cross-encoder that sentence-transformers reads; or a directory that ``xtrkit export`` made of a monoT5.
        device: "cpu", "cuda", …; by default what torch finds. Exported models run on the CPU alone.
        tokens: monoT5 only: the pieces it answers with, irrelevant first; by default those of the published checkpoint
            of that name, or ▁false and ▁true.
        max_length: monoT5 only: most tokens of query and document together; by default 512, or what an export says.
        threads: how many threads an exported model computes on; by default all that this process may use.

    Raises:
        InputError: a choice that the model can't have.
        ModelError: no such checkpoint, or one that can't rerank. Nothing is ever filled in at random.
        MissingExtraError: torch or sentence-transformers isn't installed.
    """
    name = str(name_or_path)
    if Path(name).is_dir():
        name = str(Path(name).resolve())  # it may be pickled from another folder
    if is_exported_reranker(Path(name)):
        return _exported(name, Path(name), device, tokens, max_length, threads)
    directory = find_checkpoint(name)
    layout = recognise(directory)
    max_length = max_length or MAX_LENGTH
    with torch_needed("Reranking"):
        if layout in (MONOT5, UR2N):
            from xtrkit.encoding.ur2n import answers
            from xtrkit.reranking.monot5 import MonoT5

            tokens = tokens or (answers(directory) if layout == UR2N else None)

            return MonoT5.load(name, directory, layout, device=device, tokens=tokens, max_length=max_length)
        if layout == CROSS_ENCODER:
            from xtrkit.reranking.cross_encoder import CrossEncoderReranker

            return CrossEncoderReranker.load(name, directory, layout, device=device)
    raise ModelError(
        f"{directory} is no reranker but an encoder (layout {layout.name}): use it with --model (model=), and rerank "
        "with a monoT5, a UR²N or a cross-encoder."
    )


def _exported(
    name: str,
    directory: Path,
    device: str | None,
    tokens: tuple[str, str] | None,
    max_length: int | None,
    threads: int | None,
) -> Reranker:
    from xtrkit.reranking.exported import ExportedMonoT5

    if device not in (None, "cpu"):
        raise InputError(f"An exported model runs on the CPU, got device {device!r}: load its torch original instead.")
    reranker = ExportedMonoT5(name, directory, threads=threads, max_length=max_length)
    if tokens is not None and tuple(tokens) != reranker.settings.tokens:
        raise InputError(
            f"{directory} was exported to answer with {' and '.join(reranker.settings.tokens)}, got "
            f"{' and '.join(tokens)}: export it again with these tokens."
        )
    return reranker


def pickled(name: str, *choices: Any) -> tuple[Any, ...]:
    """What a reranker is pickled as: a call of :func:`load_again`, where a directory's name is its whole path."""
    return load_again, (name, *choices)


def load_again(
    name: str,
    device: str | None,
    tokens: tuple[str, str] | None = None,
    max_length: int | None = None,
    threads: int | None = None,
) -> Reranker:
    """The reranker that was pickled; arguments as of :func:`load_reranker`.

    Raises:
        ModelError: there is no model of that name here.
    """
    try:
        return load_reranker(name, device=device, tokens=tokens, max_length=max_length, threads=threads)
    except ModelError as error:
        raise ModelError(pickled_hint("reranker", name, error)) from error
