"""One query through an index: the contract of engines, and the three that keep it.

``engine.py`` says what an engine takes and gives. ``exact.py`` looks at every token vector: the oracle.
``compressed.py`` opens clusters and scores the codes in them. ``device.py`` does that on a device of torch's.
``opening.py`` opens the one that an index needs. They share the recipe, resolved once; the imputation
(:mod:`xtrkit.scoring.imputation`); and the loop that widens a search that found too few documents (``widening.py``).
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
