"""Embeddings -> an index on disk.

``store.py`` is the only module that knows the files of an index, ``compressed_format.py`` those of a compressed one;
``documents.py`` checks what goes into either, and ``passages.py`` keeps ids and texts in SQLite. A compressed index is
built in ``postings.py``, of ``centroids.py`` and a ``codec.py``.
"""
