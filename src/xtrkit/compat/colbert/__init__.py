"""ColBERT's names on xtrkit: Indexer, Searcher, Run, its configurations, and its data (as of colbert-ai 0.2).

    from xtrkit.compat.colbert import Indexer, Searcher
    from xtrkit.compat.colbert.infra import ColBERTConfig, Run, RunConfig
    from xtrkit.compat.colbert.data import Collection, Queries

Scores are ColBERT's sums of maxima, and passages are numbered as their lines are. What works otherwise here is told in
``docs/moving.md``; arguments that have no meaning here are taken, and a warning says so once.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.compat.colbert.indexer import Indexer
    from xtrkit.compat.colbert.searcher import Searcher

_HOMES = {"Indexer": "xtrkit.compat.colbert.indexer", "Searcher": "xtrkit.compat.colbert.searcher"}

__all__ = ["Indexer", "Searcher"]

__getattr__, __dir__ = lazy(__name__, _HOMES)
