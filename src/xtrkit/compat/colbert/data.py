"""``Collection``, ``Queries`` and ``Ranking``: passages by line, queries by id, and what was found of each."""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from pathlib import Path
from typing import Any, ClassVar, Self

from xtrkit.compat.colbert.infra import Run
from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.run_files import read_run
from xtrkit.evaluation.topics import read_topics
from xtrkit.texts.reading import read_lines

Entry = tuple[int, int, float]
"""A passage's number, its rank from 1, and its score."""


class Given:
    """Data as they are given, or the path where they are read: what the three below have in common.

    Attributes:
        path: where they were read.
    """

    told: ClassVar[str]
    """What may be given, as an error says it."""

    def __init__(self, path: str | Path | None = None, data: Any = None) -> None:
        """Refuse both, neither, and data that are no collection of anything.

        Raises:
            InputError: it is so.
        """
        if (path is None) == (data is None):
            raise InputError(f"{self.told}: give one of them.")
        if data is not None and (isinstance(data, str) or not isinstance(data, Iterable)):
            raise InputError(f"{self.told}, got {data!r:.40} of type {type(data).__name__}.")
        self.path = None if path is None else str(path)

    def provenance(self) -> Any:
        """Where they were read."""
        return self.path

    @classmethod
    def cast(cls, given: Any) -> Self:
        """What is of this class already as it is; else of a path, or of data."""
        if isinstance(given, cls):
            return given
        return cls(path=given) if isinstance(given, str | Path) else cls(data=given)


class Collection(Given):
    """Passages, by number: the lines ``pid<TAB>text`` of a file, behind which a title may stand; or a list."""

    told = "A collection is a path, or a list of texts"

    def __init__(self, path: str | Path | None = None, data: Sequence[str] | None = None) -> None:
        """Take passages, or read them.

        Raises:
            CollectionError: a line's number is not its place, or it has no text.
            InputError: there is neither, or something is no text.
        """
        super().__init__(path, data)
        if isinstance(data, Mapping):
            raise InputError(f"{self.told}, got {data!r:.40} of type {type(data).__name__}.")
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

    def save(self, new_path: str) -> str:
        """Write it, below the run's folder; return where.

        Raises:
            InputError: the name ends otherwise, a text has a tab or a line break, or the file is there already.
        """
        return _save(new_path, [(pid, text) for pid, text in enumerate(self.data)])


class Queries(Given):
    """Queries by id: the lines ``qid<TAB>text`` of a file, or a dict. Ids that are whole numbers are numbers."""

    told = "Queries are a path, a dict {id: text}, or a list of texts"

    def __init__(self, path: str | Path | None = None, data: Mapping[Any, Any] | Sequence[str] | None = None) -> None:
        """Take queries, or read them: also objects of JSON with ``qid`` and ``question``.

        Raises:
            CollectionError: the file can't be read.
            InputError: there is neither.
        """
        super().__init__(path, data)
        if path is not None:
            read = read_topics(Path(path)).queries
            self.data: dict[Any, str] = {int(qid) if qid.isdecimal() else qid: text for qid, text in read.items()}
        else:
            given: Mapping[Any, Any] = data if isinstance(data, Mapping) else dict(enumerate(data or ()))
            self.data = {qid: _question(one) for qid, one in given.items()}

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

    def save(self, new_path: str) -> str:
        """Write them, below the run's folder; return where.

        Raises:
            InputError: the name ends otherwise, a text has a tab or a line break, or the file is there already.
        """
        return _save(new_path, list(self.data.items()))


class Ranking(Given):
    """What was found of each query: {qid: [(pid, rank, score), …]}, best first."""

    told = "A ranking is a path, or a dict {qid: [(pid, rank, score), …]}"

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
        super().__init__(path, data)
        self.data: dict[Any, list[Entry]] = {}
        if path is not None:
            for qid, found in read_run(path).items():
                entries = [(int(pid), rank, score) for rank, (pid, score) in enumerate(found, 1)]
                self.data[int(qid) if qid.isdecimal() else qid] = entries
        else:
            self.data = {qid: list(found) for qid, found in (data or {}).items()}
        self._provenance = dict(provenance or {"path": self.path})

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


def _question(given: Any) -> Any:
    """The text of a query that may be an object with a question; a search refuses what is none."""
    return given.get("question") if isinstance(given, Mapping) else given


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
