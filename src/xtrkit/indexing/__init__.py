"""Embeddings -> an index on disk.

``store.py`` is the only module that knows the files of an index; ``passages.py`` keeps ids and texts in SQLite.

A compressed index is made by ``postings.py`` out of ``centroids.py`` and ``codec.py``; ``compressed_format.py``
alone knows its files.
"""
