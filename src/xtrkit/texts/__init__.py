"""Texts into an index: what is taken and how it is read, cut up, encoded and indexed.

``given.py`` takes what Python has (strings, dicts, pairs); ``reading.py`` what lies on disk. ``splitting.py`` cuts long
texts into passages. ``building.py`` makes an index of passages, ``updating.py`` changes one.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
