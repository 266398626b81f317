"""The inner loops: pure functions on contiguous arrays, compiled with Numba, without files, models or state.

Each kernel has a slow, obvious twin in :mod:`xtrkit.kernels.reference`; property tests hold the two together, and a
reader who wants to know what a kernel computes reads the twin. ``dense.py`` serves the exact engine (float16 vectors,
every token looked at), ``hits.py`` turns token hits into document scores. The compressed engine has ``codes.py``
(packed codes and their products with a query), ``probing.py`` (XTR: clusters, what is in them, sums by document),
``expectation.py`` (what clusters that stayed closed must hold) and ``gathering.py`` (ColBERT: all tokens of a
candidate); the twins of these are in ``reference_codes.py``. What its kernels are given together, and in what shapes,
is in ``bundles.py``.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
