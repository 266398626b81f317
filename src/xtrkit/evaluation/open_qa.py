"""Open-domain question answering: whether a passage among the k best has an answer in it (Chen et al. 2017; DPR, 2020).

No passage is judged: one counts where one of the question's answers stands in it, token by token, as DPR's evaluation
compares them: Unicode decomposed (NFD), cut into runs of letters, digits and marks and into single other signs, small
letters. "The US" is found in "the u.s."? No: the tokens differ. Titles are no part of the text. Accuracy at 20 and at
100 is ``Success@20`` and ``Success@100`` of such judgements. Questions come as DPR publishes them (``nq-test.qa.csv``:
question, tab, a list as Python writes it, each quoted as in CSV where it has quotation marks) and as EntityQuestions
does (``P17.test.json``, one file a relation, whose mean is over relations).
"""

from __future__ import annotations

import ast
import csv
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from xtrkit.errors import CollectionError, missing_extra
from xtrkit.evaluation.collection import Protocol, TestCollection
from xtrkit.evaluation.qrels import Qrels
from xtrkit.evaluation.runs import Run
from xtrkit.texts.reading import read_lines

ACCURACY = Protocol("open-domain QA", ("Success@20", "Success@100"))
_SUFFIXES = (".qa.csv", ".qa.tsv", ".qa.csv.gz", ".qa.tsv.gz")


def is_open_qa(file: Path) -> bool:
    """Whether a file has questions with answers: its name says so, or it is a list of objects in JSON."""
    if file.suffix != ".json":
        return file.name.endswith(_SUFFIXES)
    with file.open("rb") as opened:
        return opened.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def files_of(path: Path, split: str | None) -> list[Path]:
    """The file of questions that a path is, or those of a split that lie in a folder, or in one that is called so."""
    if not path.is_dir():
        return [path]
    split = split or "test"
    files = sorted(file for place in (path, path / split) if place.is_dir() for file in place.iterdir())
    of_split = [file for file in files if f".{split}." in file.name or f"-{split}." in file.name]
    return [
        file
        for file in of_split
        if file.name.endswith(_SUFFIXES) or (file.name.endswith(".json") and _has_answers(file))
    ]


def read_open_qa(path: Path, split: str | None = None) -> list[TestCollection]:
    """Read questions with their answers, a collection for each file.

    Raises:
        CollectionError: there are none, or a line has no answers.
    """
    files = files_of(path, split)
    if not files:
        raise CollectionError(
            f"{path} has no questions with answers: expected NAME.qa.csv, or P17.{split or 'test'}.json."
        )
    return [_read(file) for file in files]


def has_answer(text: str, answers: Iterable[str]) -> bool:
    """Whether one of the answers stands in a text, token by token."""
    return Answers(answers)(text)


class Answers:
    """The answers of a question, to be looked for in many texts."""

    def __init__(self, answers: Iterable[str]) -> None:
        self._tokens = tokeniser()
        self._wanted = [found for answer in answers if (found := self._tokens(answer))]

    def __call__(self, text: str) -> bool:
        """Whether one of the answers stands in a text."""
        tokens = self._tokens(text)
        return any(
            tokens[place : place + len(wanted)] == wanted
            for wanted in self._wanted
            for place in range(len(tokens) - len(wanted) + 1)
            if tokens[place] == wanted[0]
        )


def judged_by_answers(
    run: Run, answers: Mapping[str, Sequence[str]], texts_of: Callable[[Collection[str]], Mapping[str, str]]
) -> Qrels:
    """Judgements of what was found: 1 where a passage has an answer in it, 0 otherwise.

    Args:
        run: the rankings.
        answers: those of each question that was asked.
        texts_of: ids -> {id: text} of the passages.

    Raises:
        CollectionError: a passage that was found has no text there.
    """
    qrels: Qrels = {}
    for query, wanted in answers.items():
        found = [document for document, _ in run.get(query, ())]
        texts, stands = texts_of(found), Answers(wanted)
        if missing := [document for document in found if document not in texts]:
            raise CollectionError(
                f"The passage {missing[0]!r}, found for the query {query!r}, has no text in the index: open-domain QA "
                "looks for answers in texts. Give the index that the run was made of."
            )
        qrels[query] = {document: int(stands(texts[document])) for document in found}
    return qrels


@cache
def tokeniser() -> Callable[[str], list[str]]:
    """What cuts a text into DPR's tokens: small letters, decomposed.

    Raises:
        MissingExtraError: regex isn't installed.
    """
    try:
        import regex
    except ImportError as error:
        raise missing_extra("Looking for answers in texts", "eval") from error
    token = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")

    def tokens(text: str) -> list[str]:
        found: list[str] = token.findall(unicodedata.normalize("NFD", text))
        return [one.lower() for one in found]

    return tokens


def _has_answers(file: Path) -> bool:
    """Whether a JSON file begins as a list of questions does."""
    with file.open("rb") as opened:
        beginning = opened.read(4096).lstrip()
    return beginning.startswith(b"[") and b'"question"' in beginning and b'"answer' in beginning


def _read(file: Path) -> TestCollection:
    """The questions of one file, whose ids are their places, from 0."""
    name = file.name.split(".")[0]
    if name.lower().startswith("curatedtrec"):
        raise CollectionError(f"The answers in {file} are regular expressions, which are not looked for in texts here.")
    questions, answers = dict[str, str](), dict[str, list[str]]()
    pairs = _of_json(file) if file.name.endswith(".json") else _of_lines(file)
    for number, (question, given) in enumerate(pairs):
        questions[str(number)], answers[str(number)] = question, given
    if not questions:
        raise CollectionError(f"{file} has no questions.")
    return TestCollection(file, questions, {}, (), ACCURACY, name, index_name=name, answers=answers)


def _of_lines(file: Path) -> Iterable[tuple[str, list[str]]]:
    for number, line in read_lines(file):
        try:
            question, written, *_ = next(csv.reader([line], delimiter="\t"))  # cells with quotation marks are quoted
            yield _checked(question, ast.literal_eval(written))
        except (ValueError, SyntaxError, MemoryError, RecursionError, csv.Error) as error:
            raise CollectionError(
                f"{file}, line {number}: expected a question, a tab, and a list such as ['Paris'], got {line[:100]!r}."
            ) from error


def _of_json(file: Path) -> Iterable[tuple[str, list[str]]]:
    try:
        records = json.loads(file.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise CollectionError(f"{file}: not JSON ({error}).") from error
    if not isinstance(records, list):
        raise CollectionError(f"{file}: expected a list of questions, got {type(records).__name__}.")
    for number, record in enumerate(records, start=1):
        try:
            answers = record["answers"] if "answers" in record else record["answer"]
            yield _checked(record["question"], [answers] if isinstance(answers, str) else answers)
        except (ValueError, TypeError, KeyError) as error:
            raise CollectionError(
                f'{file}, entry {number}: expected {{"question": "…", "answers": ["…"]}}, got {record!r:.100}.'
            ) from error


def _checked(question: Any, answers: Any) -> tuple[str, list[str]]:
    if not isinstance(question, str) or not question.strip() or not isinstance(answers, list | tuple) or not answers:
        raise ValueError(question)
    if not all(isinstance(answer, str) for answer in answers):
        raise ValueError(answers)
    return question.strip(), list(answers)
