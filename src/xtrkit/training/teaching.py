"""A teacher's scores for queries and their documents, in ColBERTv2's n-way format."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from xtrkit.encoding.base import Encoder
from xtrkit.errors import InputError
from xtrkit.progress import progress_bar
from xtrkit.training.formats import read_id_lines, texts_of
from xtrkit.training.mining import write_lines


class Teacher(Protocol):
    """Whatever scores passages for a query: a reranker, or a better encoder."""

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float] | Any:
        """One number for each text; higher is better."""


class EncoderTeacher:
    """A late-interaction encoder as a teacher: the mean over query tokens of their best similarities."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """The mean of the query tokens' best similarities, for each text."""
        rows = self._encoder.encode_queries([query])[0]
        documents = self._encoder.encode_documents(texts)
        return [float((rows @ documents[n].T).max(axis=1).mean()) for n in range(len(texts))]


def score(
    data: str, out: str | Path, teacher: Teacher, *, margin: float | None = None, progress: bool = False
) -> tuple[int, int]:
    """Have a teacher score every document of a file of ids, such as :func:`~xtrkit.training.mine` writes.

    Args:
        data: ``FILE.jsonl@FOLDER``, ids of a BEIR folder.
        out: the file to write: ``[query, [document, score], …]``, in the order of the ids.
        teacher: what scores.
        margin: leave out negatives that do not score at least this much below the positive: what the teacher finds
            nearly as good is a likely false negative. None keeps all of them.
        progress: show a progress bar.

    Returns:
        how many lines were written, and how many negatives were left out.

    Raises:
        CollectionError: the file can't be read, or an id isn't in the folder.
        InputError: the teacher's scores are not one number a document.
    """
    name, _, folder = str(data).rpartition("@")
    if not name:
        raise InputError(f"Say where the texts of the ids are: {data}@FOLDER, a BEIR folder.")
    entries = [(query, documents) for _, query, documents, _ in read_id_lines(Path(name))]
    queries = texts_of(Path(folder) / "queries.jsonl", (query for query, _ in entries), name)
    texts = texts_of(Path(folder) / "corpus.jsonl", (d for _, documents in entries for d in documents), name)
    lines, dropped = [], 0
    with progress_bar("Scoring", len(entries), shown=progress, unit="queries") as advance:
        for query, documents in entries:
            scores = _checked(teacher.score(queries[query], [texts[d] for d in documents]), query, len(documents))
            kept = [
                (document, value)
                for place, (document, value) in enumerate(zip(documents, scores, strict=True))
                if place == 0 or margin is None or value <= scores[0] - margin
            ]
            dropped += len(documents) - len(kept)
            lines.append(json.dumps([query, *([document, round(value, 6)] for document, value in kept)]))
            advance(1)
    write_lines(out, lines)
    return len(lines), dropped


def _checked(scores: Any, query: str, n: int) -> list[float]:
    found = [float(value) for value in scores]
    if len(found) != n or not all(map(math.isfinite, found)):
        raise InputError(
            f"The teacher gave {len(found)} scores for {n} documents of the query {query!r}"
            + ("." if len(found) != n else ", and some are not finite.")
        )
    return found


def load_teacher(name: str) -> Teacher:
    """A teacher by directory or hub name: a monoT5, its export, a UR²N, a cross-encoder, or a late-interaction encoder.

    Raises:
        ModelError: there is no such model.
    """
    from xtrkit.encoding.checkpoints import UR2N, recognise
    from xtrkit.encoding.default import ORIGINAL
    from xtrkit.encoding.load import exported_directory, find_checkpoint, load_encoder
    from xtrkit.reranking import load_reranker
    from xtrkit.reranking.exported_settings import is_exported_reranker

    if is_exported_reranker(Path(name)):
        return load_reranker(name)
    if name != ORIGINAL and exported_directory(name) is None:
        layout = recognise(find_checkpoint(name))
        if layout == UR2N or layout.kind == "reranker":
            return load_reranker(name)
    return EncoderTeacher(load_encoder(name))
