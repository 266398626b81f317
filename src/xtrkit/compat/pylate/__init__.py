"""PyLate's names on xtrkit: its models, indexes, retrievers and reranking (as of PyLate 1.6).

    from xtrkit.compat.pylate import indexes, models, rank, retrieve

Scores are sums of maxima, as PyLate's. What works otherwise here is told in ``docs/moving.md``; arguments that have no
meaning here are taken, and a warning says so once.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
