"""Scores of documents that are kept in a file, a line a query: what was dear to compute is computed once, anywhere."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xtrkit.errors import InputError

Scores = dict[str, float]
"""{document: score}, in the order in which they were given"""


class KeptScores:
    """For each query scores of documents, with its text beside them.

    What is added is written at once, so that a run that is stopped loses no more than what it was at; a line that it
    did not finish is dropped when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Args:
            path: the file; it is made when something is added.

        Raises:
            InputError: a line is not what is written here.
        """
        self._path = path
        self._found: dict[str, tuple[str, Scores]] = {}
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            path.write_bytes(whole)
        for number, line in enumerate(whole.splitlines(), 1):
            query, text, scores = self._parsed(line, number)
            self._found[query] = text, {**self._found.get(query, ("", {}))[1], **scores}

    def of(self, query: str, text: str) -> Scores:
        """What is kept of a query, in the order in which it was added.

        Raises:
            InputError: it was another text.
        """
        kept, scores = self._found.get(query, (text, {}))
        if kept != text:
            raise InputError(
                f"{self._path} has scores for the query {query!r} when its text was {kept!r:.80}, and now it is "
                f"{text!r:.80}: delete the file, and they are made again."
            )
        return scores

    def add(self, found: Mapping[str, tuple[str, Mapping[str, float]]]) -> None:
        """Keep scores of some queries: {query: (its text, {document: score})}."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        for query, (text, scores) in found.items():
            values = {document: float(score) for document, score in scores.items()}
            lines.append(json.dumps({"query": query, "text": text, "scores": values}, ensure_ascii=False) + "\n")
            self._found[query] = text, {**self.of(query, text), **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def _parsed(self, line: bytes, number: int) -> tuple[str, str, Scores]:
        try:
            content: Any = json.loads(line)
            query, text, scores = content["query"], content["text"], content["scores"]
            values = {document: float(score) for document, score in scores.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._damaged(number) from error
        if not all(map(math.isfinite, values.values())):
            raise self._damaged(number)
        return str(query), str(text), values

    def _damaged(self, number: int) -> InputError:
        return InputError(
            f"Line {number} of {self._path} isn't a query with its text and scores of documents: the file is damaged; "
            "delete it, and the scores are made again."
        )
