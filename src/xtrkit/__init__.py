"""Late-interaction retrieval on a CPU: XTR, ColBERT and their relatives, from text to ranking.

The names below are the whole public surface; everything is imported when it is first used, so that ``import xtrkit``
costs nothing.

>>> import xtrkit
>>> retriever = xtrkit.Retriever.open("idx")  # doctest: +SKIP
>>> for hit in retriever.search("who wrote it?", k=10):  # doctest: +SKIP
...     print(hit.id, hit.score, hit.text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xtrkit.encoding.load import load_encoder
    from xtrkit.errors import XtrkitError
    from xtrkit.index import Index
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
    "Index": "xtrkit.index",
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
    "Index",
    "Ragged",
    "Ranking",
    "Recipe",
    "Retriever",
    "XtrkitError",
    "load_encoder",
    "load_unified",
    "warm_up",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'xtrkit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
