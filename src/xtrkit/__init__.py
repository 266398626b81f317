"""Late-interaction retrieval on a CPU: XTR, ColBERT and their relatives, from text to ranking.

Everything is imported when it is first used, the packages below, too: ``import xtrkit`` costs nothing, and
``xtrkit.training.train`` works after it.

>>> import xtrkit
>>> retriever = xtrkit.Retriever.create("idx", ["a text", "another"], nbits=4)  # doctest: +SKIP
>>> for hit in retriever.search("who wrote it?", k=10):  # doctest: +SKIP
...     print(hit.id, hit.score, hit.text)
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.cluster.cluster import Cluster
    from xtrkit.encoding.load import load_encoder
    from xtrkit.errors import XtrkitError
    from xtrkit.hits import Hit, Hits
    from xtrkit.index import Index
    from xtrkit.passage import Passage
    from xtrkit.recipes import COLBERT, COLBERTV2, COLXTR, XTR, Recipe
    from xtrkit.retriever import Retriever
    from xtrkit.search.engine import Ranking
    from xtrkit.unified.load import load_unified
    from xtrkit.values import Ragged
    from xtrkit.warming import warm_up

_HOMES = {
    "COLBERT": "xtrkit.recipes",
    "COLBERTV2": "xtrkit.recipes",
    "COLXTR": "xtrkit.recipes",
    "Cluster": "xtrkit.cluster.cluster",
    "Hit": "xtrkit.hits",
    "Hits": "xtrkit.hits",
    "Index": "xtrkit.index",
    "Passage": "xtrkit.passage",
    "Ragged": "xtrkit.values",
    "Ranking": "xtrkit.search.engine",
    "Recipe": "xtrkit.recipes",
    "Retriever": "xtrkit.retriever",
    "XTR": "xtrkit.recipes",
    "XtrkitError": "xtrkit.errors",
    "load_encoder": "xtrkit.encoding.load",
    "warm_up": "xtrkit.warming",
    "load_unified": "xtrkit.unified.load",
}

__all__ = [
    "COLBERT",
    "COLBERTV2",
    "COLXTR",
    "XTR",
    "Cluster",
    "Hit",
    "Hits",
    "Index",
    "Passage",
    "Ragged",
    "Ranking",
    "Recipe",
    "Retriever",
    "XtrkitError",
    "load_encoder",
    "load_unified",
    "warm_up",
]

__getattr__, __dir__ = lazy(__name__, _HOMES)
