"""Rankings and judgements: what was found against what should have been. Knows no model and no index.

``opening.py`` reads test collections, each layout in a module of its own (``beir.py``, ``msmarco.py``, …),
``topics.py`` and ``qrels.py`` queries and judgements, ``run_files.py`` runs; ``measures.py`` computes nDCG and its
relatives through ``ir-measures``, ``significance.py`` tests differences, ``bm25.py`` is the lexical baseline through
``bm25s``.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.evaluation.beir import read_test_collection
    from xtrkit.evaluation.bm25 import BM25
    from xtrkit.evaluation.collection import TestCollection
    from xtrkit.evaluation.measures import evaluate
    from xtrkit.evaluation.run_files import read_run, write_run

_HOMES = {
    "BM25": "xtrkit.evaluation.bm25",
    "TestCollection": "xtrkit.evaluation.collection",
    "evaluate": "xtrkit.evaluation.measures",
    "read_run": "xtrkit.evaluation.run_files",
    "read_test_collection": "xtrkit.evaluation.beir",
    "write_run": "xtrkit.evaluation.run_files",
}

__all__ = ["BM25", "TestCollection", "evaluate", "read_run", "read_test_collection", "write_run"]

__getattr__, __dir__ = lazy(__name__, _HOMES)
