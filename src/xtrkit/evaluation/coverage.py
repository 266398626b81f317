"""Whether what is searched has what is judged: the ids of an index or a corpus against those of the judgements."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Set

from xtrkit.evaluation.measures import cutoff_of
from xtrkit.evaluation.notes import Note, counted, examples_of, quoted
from xtrkit.evaluation.qrels import Qrels


def missing_documents(qrels: Qrels, there: Set[str], *, kind: str, place: str) -> list[Note]:
    """Says which judged documents can't be found.

    Args:
        qrels: the judgements.
        there: ids of the documents that are searched.
        kind: the note's.
        place: what is searched, for the sentence: "the index".
    """
    judged = dict.fromkeys(document for grades in qrels.values() for document in grades)
    missing = [document for document in judged if document not in there]
    if not missing:
        return []
    relevant = {q: [d for d, grade in grades.items() if grade > 0] for q, grades in qrels.items()}
    wanted = {document for found in relevant.values() for document in found}
    of_relevant = [document for document in missing if document in wanted]
    hopeless = [query for query, found in relevant.items() if found and there.isdisjoint(found)]
    facts = {
        "documents": len(missing),
        "judged": len(judged),
        "relevant": len(of_relevant),
        "queries_without_any": len(hopeless),
        "examples": examples_of(of_relevant or missing),
    }
    are = "is" if len(missing) == 1 else "are"
    sentence = f"{len(missing):,} of {counted(len(judged), 'judged document')} {are} not in {place}"
    if of_relevant:
        sentence += (
            f", {len(of_relevant):,} of them relevant to a query {quoted(of_relevant)}, which no search finds there"
        )
        none = f"{counted(len(hopeless), 'query')} {'has' if len(hopeless) == 1 else 'have'}"
        sentence += f"; {none} no relevant document there at all" if hopeless else ""
    else:
        sentence += f", none of them relevant {quoted(missing)}"
    return [Note(kind, facts, f"{sentence}.")]


def differing_collections(index: Set[str], corpus: Set[str]) -> list[Note]:
    """Says that BM25 searches other documents than the index has."""
    alone, lacking = index - corpus, corpus - index
    if not alone and not lacking:
        return []
    parts = [
        f"{counted(len(found), 'document')} in {place} alone {quoted(sorted(found))}"
        for found, place in ((alone, "the index"), (lacking, "the corpus"))
        if found
    ]
    facts = {
        "in_index_alone": len(alone),
        "in_corpus_alone": len(lacking),
        "examples_of_index": examples_of(sorted(alone)),
        "examples_of_corpus": examples_of(sorted(lacking)),
    }
    sentence = f"BM25 searches another collection than the index has: {', '.join(parts)}."
    return [Note("other_collection", facts, sentence)]


def fewer_than_depth(n_documents: int, measures: Iterable[str]) -> list[Note]:
    """Says which measures look at every document that there is."""
    whole = [name for name in measures if (cutoff := cutoff_of(name)) and cutoff >= n_documents]
    if not whole:
        return []
    looks = "looks" if len(whole) == 1 else "look"
    sentence = f"The index has {counted(n_documents, 'document')}: {', '.join(whole)} {looks} at all of them."
    return [Note("fewer_documents_than_depth", {"documents": n_documents, "measures": whole}, sentence)]


def dropped_identical(dropped: Collection[str], kept: Collection[str]) -> list[Note]:
    """Says for which queries a document of their own id was found, and dropped or kept."""
    if not dropped and not kept:
        return []
    parts = []
    if dropped:
        parts.append(
            f"a document with the query's own id was dropped from the rankings of {counted(len(dropped), 'query')} "
            f"{quoted(dropped)}, as BEIR does (--keep-identical keeps it)"
        )
    if kept:
        parts.append(
            f"it was kept for {counted(len(kept), 'query')} to which it is judged relevant {quoted(kept)}"
            if dropped
            else "a document with the query's own id was kept, since it is judged relevant, for "
            f"{counted(len(kept), 'query')} {quoted(kept)}"
        )
    sentence = "; ".join(parts)
    facts = {
        "queries": len(dropped),
        "examples": examples_of(dropped),
        "kept_relevant": len(kept),
        "kept_examples": examples_of(kept),
    }
    return [Note("dropped_identical", facts, f"{sentence[0].upper()}{sentence[1:]}.")]
