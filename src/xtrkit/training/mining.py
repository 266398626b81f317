"""Hard negatives: documents that a retriever ranks high and nobody calls relevant.

Written as ColBERT's triples, ``[query, positive, negative, …]``, ids of a BEIR folder, one line for each positive.
Repeated with a better model's index, the negatives get harder: train, index, mine, train again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.beir import open_corpus, read_test_collection
from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.ids import trimmed
from xtrkit.progress import progress_bar
from xtrkit.recipes import Recipe
from xtrkit.retriever import Retriever
from xtrkit.training.formats import relevant_documents
from xtrkit.whole_file import write_whole

Ranked = Mapping[str, Sequence[tuple[str, float]]]


@dataclass(frozen=True)
class Selection:
    """Which documents of a ranking become negatives.

    Attributes:
        n: most negatives of a query.
        depth: how many documents are looked at.
        skip: how many of the first are passed over, as they may be relevant without being judged.
        margin: a negative must score that much below the query's worst positive, as a share of that one's score: 0.05
            asks for at most 95 % of it. A likely false negative is what scores more. Where the positive is not among
            the ``depth`` best, nothing is known, and all are kept.

    Raises:
        InputError: a number can't be used.
    """

    n: int = 8
    depth: int = 100
    skip: int = 0
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 1 or self.skip < 0 or self.depth < self.n + self.skip:
            raise InputError(
                f"{self.n} negatives after the first {self.skip} need a depth of "
                f"{max(1, self.n) + max(0, self.skip)}, got {self.depth}."
            )
        if not 0 <= self.margin < 1:
            raise InputError(f"margin is a share of the positive's score, from 0 to below 1, got {self.margin}.")

    def negatives(
        self, ranking: Sequence[tuple[str, float]], positives: Sequence[str], texts: Mapping[str, str]
    ) -> list[str]:
        """The negatives of a query, the best ranked first.

        Args:
            ranking: (document, score), the best first.
            positives: the query's relevant documents.
            texts: of everything in the ranking, and of the positives: what has the text of one is no negative.
        """
        relevant, relevant_texts = set(positives), {texts[document] for document in positives}
        of_positives = [score for document, score in ranking if document in relevant]
        bounded = bool(of_positives and self.margin)
        most = min(of_positives) - self.margin * abs(min(of_positives)) if bounded else float("inf")
        return [
            document
            for document, score in ranking[self.skip :]
            if document not in relevant and texts[document] not in relevant_texts and score <= most
        ][: self.n]


def mine(
    data: str | Path,
    out: str | Path,
    *,
    index: str | Path | None = None,
    model: str | None = None,
    selection: Selection = Selection(),
    progress: bool = False,
) -> tuple[int, int]:
    """Find hard negatives for the training queries of a BEIR folder.

    Args:
        data: the folder, or ``FOLDER:SPLIT``; its ``qrels/train.tsv`` by default.
        out: the file to write.
        index: an index of the folder's corpus, which is searched as XTR; None takes BM25.
        model: where the index's encoder is, if it has moved.
        selection: which of the found documents become negatives, and how many.
        progress: show a progress bar.

    Returns:
        how many lines were written, and how many negatives are in them.

    Raises:
        CollectionError: the folder can't be read, or a query has no positive.
    """
    folder, split = _folder_and_split(data)
    test = read_test_collection(folder, split)
    relevant = relevant_documents(test.qrels)
    if without := [query for query, found in relevant.items() if not found]:
        raise CollectionError(f"qrels/{split}.tsv: the query {without[0]!r} has no positive: leave it out.")
    depth = selection.depth
    ranked = _by_bm25(test, depth) if index is None else _by_index(test, index, model, depth, progress)
    texts = _texts(folder, ranked, relevant)
    lines, n_negatives = [], 0
    for query, positives in relevant.items():
        negatives = selection.negatives(ranked.get(query, ()), positives, texts)
        n_negatives += len(negatives) * len(positives)
        lines += [json.dumps([query, positive, *negatives], ensure_ascii=False) for positive in positives]
    write_lines(out, lines)
    return len(lines), n_negatives


def write_lines(path: str | Path, lines: Sequence[str]) -> None:
    """Write a file of lines that appears when it is complete, in a folder that is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "".join(f"{line}\n" for line in lines))


def _folder_and_split(data: str | Path) -> tuple[Path, str]:
    folder, colon, split = str(data).rpartition(":")
    return (Path(folder), split) if colon and Path(folder).is_dir() else (Path(data), "train")


def _by_bm25(test: TestCollection, depth: int) -> Ranked:
    return BM25(open_corpus(test.path)).search(test.queries, depth)


def _by_index(test: TestCollection, index: str | Path, model: str | None, depth: int, progress: bool) -> Ranked:
    with Retriever.open(index, model=model) as retriever:
        embeddings = retriever.encode_queries(list(test.queries.values()), progress=progress)
        with progress_bar("Searching", len(embeddings), shown=progress, unit="queries") as advance:
            recipe = Recipe(k_prime=max(1000, depth))  # ids alone: texts come from the corpus
            rankings = retriever.index.search_batch(embeddings, depth, recipe=recipe, advance=advance)
    return {
        query: [(trimmed(document), score) for document, score in ranking]
        for query, ranking in zip(test.queries, rankings, strict=True)
    }


def _texts(folder: Path, ranked: Ranked, relevant: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Texts of what was found and of the positives.

    Raises:
        CollectionError: a document isn't in the corpus: the index is of another collection, or the judgements are.
    """
    needed = {document for ranking in ranked.values() for document, _ in ranking}
    needed |= {document for found in relevant.values() for document in found}
    found = ((trimmed(passage.id), passage.text or "") for passage in open_corpus(folder))
    texts = {identifier: text for identifier, text in found if identifier in needed}
    if missing := sorted(needed - set(texts)):
        raise CollectionError(
            f"The corpus of {folder} does not have {missing[0]!r}, which the judgements or the index name: use "
            "those of this corpus."
        )
    return texts
