"""BEIR's layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``, gzipped or not; and the rules of its sets.

What figures of BEIR's sets need to compare with published ones (Thakur et al., NeurIPS 2021, and the repository's
issues 11, 40 and 74): MS MARCO is measured on its development split, its "test" being TREC-DL 2019; the published
recall of TREC-COVID is capped; of Touché there are two sets of judgements, whose figures lie twenty points apart;
CQADupStack is twelve collections, whose figures are averaged; and a document that bears the query's id is the query
itself (ArguAna, Quora), and is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from xtrkit.errors import CollectionError
from xtrkit.evaluation.collection import BEIR, Protocol, TestCollection, asked, beside, note_unread
from xtrkit.evaluation.ids import Trimming
from xtrkit.evaluation.measures import DEFAULT_MEASURES
from xtrkit.evaluation.notes import Note
from xtrkit.evaluation.qrels import Qrels, read_judgements
from xtrkit.evaluation.topics import came_twice
from xtrkit.passage import Passage
from xtrkit.texts.reading import id_and_text, open_source, read_json_objects
from xtrkit.texts.whole import whole_passages

CQADUPSTACK = (
    "android", "english", "gaming", "gis", "mathematica", "physics", "programmers", "stats", "tex", "unix",
    "webmasters", "wordpress",
)  # fmt: skip
"""Its twelve forums."""
_COVID_JUDGEMENTS = 66_336
_TOUCHE = {
    2962: ("first", "about .60"),
    2214: ("second", ".367 (BEIR's paper, XTR's) or .44 (Anserini, ColXTR's, UR²N's)"),
}
"""{judgements: version, BM25's published nDCG@10 on it}"""


def is_beir(path: Path) -> bool:
    """Whether a folder looks like one of BEIR's."""
    return (path / "qrels").is_dir() and beside(path, "queries.jsonl") is not None


def read_test_collection(path: str | Path, split: str | None = None) -> TestCollection:
    """Read queries and judgements of a BEIR folder.

    Args:
        path: the folder.
        split: which judgements, ``qrels/SPLIT.tsv``; by default "test", and "dev" in a folder called ``msmarco``.

    Raises:
        CollectionError: a file is missing or can't be read, or a judged query has no text.
    """
    path = Path(path)
    name = path.resolve().name
    split = split or ("dev" if name.lower() == "msmarco" else "test")
    queries_path, qrels_path = _found(path / "queries.jsonl"), _found(path / "qrels" / f"{split}.tsv")
    for needed in (queries_path, qrels_path):
        if not needed.is_file():
            there = ", ".join(sorted({file.name.split(".tsv")[0] for file in path.glob("qrels/*.tsv*")})) or "none"
            raise CollectionError(
                f"There is no {needed}: expected a BEIR folder with queries.jsonl and qrels/{split}.tsv "
                f"(splits found: {there})."
            )
    judged, (texts, notes_on_queries) = read_judgements(qrels_path), _read_queries(queries_path)
    queries, notes = asked(texts, judged, queries_path, qrels_path)
    notes = [*note_unread((queries_path, qrels_path)), *notes_on_queries, *notes]
    protocol, of_set = rules_of(name.lower(), split, judged.qrels)
    corpus = path if _has_corpus(path) else None
    return TestCollection(path, queries, judged.qrels, (*notes, *of_set), protocol, name, corpus, index_name=name)


def read_queries(path: Path) -> dict[str, str]:
    """The queries of a BEIR folder: {id: text}; of a query that comes twice, the first text.

    Raises:
        CollectionError: they can't be read.
    """
    return _read_queries(_found(path / "queries.jsonl"))[0]


def read_qrels(path: Path) -> Qrels:
    """Judgements, as :func:`xtrkit.evaluation.qrels.read_judgements` reads them, without the notes on them.

    Raises:
        CollectionError: a line is no judgement, or there is none at all.
    """
    return read_judgements(path).qrels


def open_corpus(path: Path) -> Iterable[Passage]:
    """The passages of a BEIR folder.

    Raises:
        CollectionError: it has no corpus.
    """
    if path.is_dir() and not _has_corpus(path):
        raise CollectionError(f"There is no {path / 'corpus.jsonl'}, the corpus of a BEIR folder.")
    return whole_passages(open_source(str(path)))  # which may be irds:NAME


def rules_of(name: str, split: str, qrels: Qrels) -> tuple[Protocol, list[Note]]:
    """The rules of a set, by its name, and which version of it this is."""
    n = sum(map(len, qrels.values()))
    if name == "msmarco" and split == "test":
        sentence = "BEIR's test split of MS MARCO is TREC-DL 2019: figures called MS MARCO's are of its dev split."
        return BEIR, [Note("msmarco_split", {"split": split}, sentence)]
    if "trec-covid" in name:
        whose = "BEIR's" if n == _COVID_JUDGEMENTS else f"not BEIR's ({_COVID_JUDGEMENTS:,})"
        sentence = (
            f"TREC-COVID has {n:,} judgements here, {whose}. Published R@100 of it is capped (R_cap@100), since each "
            "query has hundreds of relevant documents."
        )
        protocol = replace(BEIR, measures=("nDCG@10", "R_cap@100"))
        return protocol, [Note("trec_covid_version", {"judgements": n, "beir": n == _COVID_JUDGEMENTS}, sentence)]
    if "touche" in name:
        version, published = _TOUCHE.get(n, (None, ""))
        sentence = (
            f"Touché 2020 has {n:,} judgements here: the {version} version, BM25's published nDCG@10 on which is "
            f"{published}. Figures of the other version do not compare."
            if version
            else f"Touché 2020 has {n:,} judgements here, as many as neither version that BEIR published "
            f"({', '.join(f'{number:,}' for number in _TOUCHE)}): its figures compare with neither's."
        )
        return BEIR, [Note("touche_version", {"judgements": n, "version": version}, sentence)]
    return replace(BEIR, measures=DEFAULT_MEASURES), []


def _has_corpus(path: Path) -> bool:
    return any(path.glob("corpus*")) or any(path.glob("collection.tsv*"))


def _found(path: Path) -> Path:
    """A file, or its gzipped twin where that alone is there."""
    zipped = path.with_name(f"{path.name}.gz")
    return zipped if zipped.is_file() and not path.exists() else path


def _read_queries(path: Path) -> tuple[dict[str, str], list[Note]]:
    trim, texts = Trimming(), dict[str, list[str]]()
    for number, record in read_json_objects(path):
        identifier, text = id_and_text(path, number, record)
        query = trim(identifier)
        if not query:
            raise CollectionError(f"{path}, line {number}: the query's id is white space alone.")
        texts.setdefault(query, []).append(text)
    notes = [*trim.notes("queries", f"of queries in {path.name}"), *came_twice(texts, path)]
    return {query: given[0] for query, given in texts.items()}, notes
