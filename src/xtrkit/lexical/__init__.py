"""Words beside the tokens: which documents of a segment have each word, and BM25 scores of all living ones.

``words.py`` cuts a text into words, ``terms.py`` takes their endings off, as indexes have it;
``postings.py`` is a segment's file, ``bm25.py`` scores a query by the files of all segments.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
