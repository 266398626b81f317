"""``Collection``, ``Queries`` and ``Ranking``: passages by line, queries by id, and what was found of each."""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from pathlib import Path
from typing import Any, Self

from xtrkit.compat.colbert.infra import Run
from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.run_files import read_run
from xtrkit.evaluation.topics import read_topics
from xtrkit.texts.reading import read_lines

Entry = tuple[int, int, float]
"""A passage's number, its rank from 1, and its score."""


class Collection:
    """Passages, by number: the lines ``pid<TAB>text`` of a file, behind which a title may stand; or a list."""

    def __init__(self, path: str | Path | None = None, data: Sequence[str] | None = None) -> None:
        """Take passages, or read them.

        Raises:
            CollectionError: a line's number is not its place, or it has no text.
            InputError: there is neither, or something is no text.
        """
        if (path is None) == (data is None):
            raise InputError("A collection is a path, or a list of texts: give one of them.")
        self.path = None if path is None else str(path)
        self.data: list[str] = _passages_of(Path(path)) if path is not None else list(data or ())
        for text in self.data:
            if not isinstance(text, str):
                raise InputError(f"Passages must be texts, got {text!r:.40} of type {type(text).__name__}.")

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __getitem__(self, pid: int) -> str:
        return self.data[pid]

    def __len__(self) -> int:
        return len(self.data)

    def provenance(self) -> str | None:
        """Where it was read."""
        return self.path

    def save(self, new_path: str) -> str:
        """Write it, below the run's folder; return where.

        Raises:
            InputError: the name ends otherwise, a text has a tab or a line break, or the file is there already.
        """
        return _save(new_path, [(pid, text) for pid, text in enumerate(self.data)])

    @classmethod
    def cast(cls, given: Any) -> Self:
        """A collection of a path, of a list, or as it is."""
        if isinstance(given, cls):
            return given
        return cls(path=given) if isinstance(given, str | Path) else cls(data=given)


class Queries:
    """Queries by id: the lines ``qid<TAB>text`` of a file, or a dict. Ids that are whole numbers are numbers."""

    def __init__(self, path: str | Path | None = None, data: Mapping[Any, Any] | None = None) -> None:
        """Take queries, or read them: also objects of JSON with ``qid`` and ``question``.

        Raises:
            CollectionError: the file can't be read.
            InputError: there is neither.
        """
        if (path is None) == (data is None):
            raise InputError("Queries are a path, or a dict {id: text}: give one of them.")
        self.path = None if path is None else str(path)
        if path is not None:
            read = read_topics(Path(path)).queries
            self.data: dict[Any, str] = {int(qid) if qid.isdecimal() else qid: text for qid, text in read.items()}
        else:
            given = data if isinstance(data, Mapping) else dict(enumerate(data or ()))
            self.data = {qid: one["question"] if isinstance(one, Mapping) else one for qid, one in given.items()}

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        return iter(self.data.items())

    def __getitem__(self, qid: Any) -> str:
        return self.data[qid]

    def keys(self) -> KeysView[Any]:
        """The ids."""
        return self.data.keys()

    def values(self) -> ValuesView[str]:
        """The texts."""
        return self.data.values()

    def items(self) -> ItemsView[Any, str]:
        """Ids and texts."""
        return self.data.items()

    def provenance(self) -> str | None:
        """Where they were read."""
        return self.path

    def save(self, new_path: str) -> str:
        """Write them, below the run's folder; return where.

        Raises:
            InputError: the name ends otherwise, a text has a tab or a line break, or the file is there already.
        """
        return _save(new_path, list(self.data.items()))

    @classmethod
    def cast(cls, given: Any) -> Self:
        """Queries of a path, of a dict, of a list (numbered by place), or as they are."""
        if isinstance(given, cls):
            return given
        return cls(path=given) if isinstance(given, str | Path) else cls(data=given)


class Ranking:
    """What was found of each query: {qid: [(pid, rank, score), …]}, best first."""

    def __init__(
        self,
        path: str | Path | None = None,
        data: Mapping[Any, Sequence[Entry]] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a ranking, or read one that was saved.

        Raises:
            CollectionError: the file can't be read.
            InputError: there is neither.
        """
        if (path is None) == (data is None):
            raise InputError("A ranking is a path, or a dict {qid: [(pid, rank, score), …]}: give one of them.")
        self.data: dict[Any, list[Entry]] = {}
        if path is not None:
            for qid, found in read_run(path).items():
                entries = [(int(pid), rank, score) for rank, (pid, score) in enumerate(found, 1)]
                self.data[int(qid) if qid.isdecimal() else qid] = entries
        else:
            self.data = {qid: list(found) for qid, found in (data or {}).items()}
        self._provenance = dict(provenance or {"path": None if path is None else str(path)})

    def provenance(self) -> dict[str, Any]:
        """How it came to be."""
        return self._provenance

    def todict(self) -> dict[Any, list[Entry]]:
        """As a dict {qid: [(pid, rank, score), …]}."""
        return dict(self.data)

    def tolist(self) -> list[tuple[Any, int, int, float]]:
        """As a list of (qid, pid, rank, score), query after query."""
        return [(qid, *entry) for qid, found in self.data.items() for entry in found]

    def items(self) -> ItemsView[Any, list[Entry]]:
        """Ids of queries, and what was found of each."""
        return self.data.items()

    def save(self, new_path: str) -> str:
        """Write ``qid<TAB>pid<TAB>rank<TAB>score`` below the run's folder, and its provenance beside it; return where.

        Raises:
            InputError: the name has no "tsv" in it, or the file is there already.
        """
        if "tsv" not in Path(new_path).name.split("."):
            raise InputError(f"Rankings are written as .tsv, got the name {new_path!r}.")
        with Run().open(new_path, "w") as file:
            file.writelines("\t".join(map(str, entry)) + "\n" for entry in self.tolist())
        with Run().open(f"{new_path}.meta", "w") as beside:
            json.dump({"provenance": self.provenance()}, beside, indent=1, default=str)
        return str(file.name)

    @classmethod
    def cast(cls, given: Any) -> Self:
        """A ranking of a path, of a dict, or as it is."""
        if isinstance(given, cls):
            return given
        return cls(path=given) if isinstance(given, str | Path) else cls(data=given)


def _passages_of(path: Path) -> list[str]:
    if path.suffix != ".tsv":
        raise CollectionError(f"A collection is a file of lines 'pid<TAB>text' whose name ends in .tsv, got {path}.")
    passages: list[str] = []
    for number, line in read_lines(path):
        pid, *rest = line.rstrip("\r\n").split("\t")
        if not rest or (pid != str(len(passages)) and pid != "id"):
            raise CollectionError(
                f"{path}, line {number}: expected '{len(passages)}<TAB>text', since passages are numbered as their "
                f"lines are, got {line!r:.40}."
            )
        if pid != "id":
            passages.append(f"{rest[1]} | {rest[0]}" if len(rest) > 1 and rest[1] else rest[0])
    return passages


def _save(new_path: str, entries: Sequence[tuple[Any, str]]) -> str:
    if not new_path.endswith(".tsv"):
        raise InputError(f"It is written as .tsv, got the name {new_path!r}.")
    for number, text in entries:
        if {"\t", "\n", "\r"} & set(text):
            raise InputError(f"The text of {number} has a tab or a line break, which a .tsv file can't hold.")
    with Run().open(new_path, "w") as file:
        file.writelines(f"{number}\t{text}\n" for number, text in entries)
    return str(file.name)
