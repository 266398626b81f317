"""Embeddings -> an index on disk.

``documents.py`` checks what comes in, and ``spool.py`` keeps it on disk until all is there, so that a build that was
killed goes on. ``store.py`` is the only module that knows the files of an index, ``compressed_format.py`` those of a
compressed one; ``passages.py`` keeps ids and texts in SQLite. A compressed index is built in ``postings.py``, of
``centroids.py`` and a ``codec.py``.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
