"""What is learnt from: queries, documents, which of them belong together, and what a teacher says about it.

``formats.py`` reads these from disk. Knows no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from xtrkit.errors import InputError


class Example(NamedTuple):
    """A query and documents to compare, by their places in the texts of a :class:`TrainingData`.

    Attributes:
        query: which query.
        documents: the positive first, then hard negatives; from a teacher, the best first.
        scores: the teacher's, one for each document; None without a teacher.
    """

    query: int
    documents: tuple[int, ...]
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class TrainingData:
    """Examples with their texts; equal texts are one.

    Attributes:
        queries: texts.
        documents: texts.
        examples: what belongs together.
        positives: {query: documents that are relevant to it}.
        sources: where the examples came from, for the model card: (name, examples).
    """

    queries: Sequence[str]
    documents: Sequence[str]
    examples: Sequence[Example]
    positives: dict[int, frozenset[int]]
    sources: Sequence[tuple[str, int]] = ()

    def keeping(self, chosen: Iterable[int]) -> TrainingData:
        """These data with some of the examples, and all texts."""
        examples = [self.examples[number] for number in chosen]
        return replace(self, examples=examples)

    def compact(self) -> TrainingData:
        """These data without the texts that no example names; the others get new numbers."""
        queries = sorted({example.query for example in self.examples})
        documents = sorted({document for example in self.examples for document in example.documents})
        of_query = {old: new for new, old in enumerate(queries)}
        of_document = {old: new for new, old in enumerate(documents)}
        return replace(
            self,
            queries=[self.queries[query] for query in queries],
            documents=[self.documents[document] for document in documents],
            examples=[
                Example(of_query[query], tuple(of_document[document] for document in found), scores)
                for query, found, scores in self.examples
            ],
            positives={
                of_query[query]: frozenset(of_document[d] for d in self.positives[query] if d in of_document)
                for query in queries
            },
        )

    def fingerprint(self) -> str:
        """sha256 over texts, examples and scores."""
        content = [list(self.queries), list(self.documents), [list(example) for example in self.examples]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass
class Gatherer:
    """Collects examples as texts, and numbers them."""

    queries: dict[str, int] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    positives: dict[int, set[int]] = field(default_factory=dict)

    def add(
        self, query: str, documents: Sequence[str], scores: Sequence[float] | None = None, relevant: Iterable[str] = ()
    ) -> None:
        """Add an example, the positive first; ``relevant`` names further documents that are no negatives."""
        number = self.queries.setdefault(query, len(self.queries))
        places = tuple(self.documents.setdefault(text, len(self.documents)) for text in documents)
        known = (self.documents.setdefault(text, len(self.documents)) for text in relevant)
        self.positives.setdefault(number, set()).update((places[0], *known))
        self.examples.append(Example(number, places, None if scores is None else tuple(map(float, scores))))

    def data(self, name: str) -> TrainingData:
        """What was collected.

        Raises:
            InputError: there is no example.
        """
        if not self.examples:
            raise InputError(f"{name} has no training examples: it needs at least one query with a positive.")
        positives = {query: frozenset(documents) for query, documents in self.positives.items()}
        sources = [(name, len(self.examples))]
        return TrainingData(list(self.queries), list(self.documents), self.examples, positives, sources)


def joined(parts: Sequence[TrainingData]) -> TrainingData:
    """Several data sets as one, a text that several have counted once.

    Raises:
        InputError: some have teacher scores and others don't.
    """
    if len(parts) == 1:
        return parts[0]
    if len({example.scores is None for part in parts for example in part.examples}) > 1:
        raise InputError("Some of the data have teacher scores and some don't: score all of them, or none.")
    all_of_them = Gatherer()
    for part in parts:
        for example in part.examples:
            texts = [part.documents[place] for place in example.documents]
            relevant = [part.documents[place] for place in sorted(part.positives[example.query])]
            all_of_them.add(part.queries[example.query], texts, example.scores, relevant)
    sources = [source for part in parts for source in part.sources]
    return replace(all_of_them.data("the data"), sources=sources)


def with_negatives(data: TrainingData, n: int, seed: int) -> TrainingData:
    """Every example with exactly ``n`` negatives, once and for all: a fixed set, as the XTR paper's.

    More of them are sampled; fewer are filled up with documents of other examples that nobody calls relevant.
    Examples with a teacher's scores are never filled up.

    Raises:
        InputError: an example with a teacher's scores has fewer documents, or there are no documents to fill up with.
    """
    random = np.random.default_rng(seed)
    examples = [_with_negatives(data, example, n, random) for example in data.examples]
    return replace(data, examples=examples)


def most_negatives(data: TrainingData) -> int:
    """How many negatives the example with the most of them has."""
    return max(len(example.documents) - 1 for example in data.examples)


def _with_negatives(data: TrainingData, example: Example, n: int, random: np.random.Generator) -> Example:
    n_own = len(example.documents) - 1
    if n_own > n:
        chosen = [0, *sorted(1 + random.choice(n_own, size=n, replace=False))]
        scores = None if example.scores is None else tuple(example.scores[place] for place in chosen)
        return Example(example.query, tuple(example.documents[place] for place in chosen), scores)
    if n_own == n:
        return example
    if example.scores is not None:
        raise InputError(
            f"The query {data.queries[example.query]!r} has {len(example.documents)} documents with teacher scores, "
            f"but {n + 1} are needed for {n} negatives: score more of them, or ask for fewer negatives."
        )
    taken = {*example.documents, *data.positives[example.query]}
    if len(data.documents) - len(taken) < n - n_own:
        raise InputError(
            f"There are too few documents to give each query {n} negatives: mine some, or ask for fewer negatives."
        )
    filled = list(example.documents)
    while len(filled) <= n:
        other = int(random.integers(len(data.documents)))
        if other not in taken:
            taken.add(other)
            filled.append(other)
    return Example(example.query, tuple(filled))
