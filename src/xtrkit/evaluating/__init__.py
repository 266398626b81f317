"""Measuring indexes: rows of figures, runs, sweeps over settings, and where two systems differ.

``measuring.py`` measures an index on a test collection, ``running.py`` answers queries without judgements,
``sweeping.py`` looks for the cheapest setting, ``differing.py`` shows two systems query by query. What rankings and
judgements are, they leave to :mod:`xtrkit.evaluation`.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.evaluating.measuring import IndexedDocuments, Row, measure
    from xtrkit.evaluating.running import answer_topics
    from xtrkit.evaluating.sweeping import Point, sweep

_HOMES = {
    "IndexedDocuments": "xtrkit.evaluating.measuring",
    "Point": "xtrkit.evaluating.sweeping",
    "Row": "xtrkit.evaluating.measuring",
    "answer_topics": "xtrkit.evaluating.running",
    "measure": "xtrkit.evaluating.measuring",
    "sweep": "xtrkit.evaluating.sweeping",
}

__all__ = ["IndexedDocuments", "Point", "Row", "answer_topics", "measure", "sweep"]

__getattr__, __dir__ = lazy(__name__, _HOMES)
