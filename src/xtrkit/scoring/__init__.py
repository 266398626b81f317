"""From token similarities to document scores.

``xtr.py`` is eq. 4 of the XTR paper: documents are scored from the hits of token retrieval alone. ``imputation.py``
says what a similarity that was not retrieved is worth, one policy a function, for every engine: the only place where
absence becomes a number. ColBERT's sum-of-max (eq. 1) needs every token's similarity, so it happens where these are
computed: :func:`xtrkit.kernels.dense.sum_of_max`, :func:`xtrkit.kernels.gathering.sums_of_max`; ``maxsim.py`` has it
for vectors of given texts.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
