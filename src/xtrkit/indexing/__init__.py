"""Embeddings -> an index on disk.

``store.py`` is the only module that knows the files of an index; ``documents.py`` checks what goes into one, and
``passages.py`` keeps ids and texts in SQLite.
"""
