"""Files that people have, as documents: one module a kind.

``walking.py`` finds files below a folder or by a pattern, ``layouts.py`` tells what a folder is, ``kinds.py`` what a
file is. ``opening.py`` opens, unpacks and decodes. ``plain.py`` reads texts, ``headings.py`` finds the sections of
Markdown and reStructuredText; ``webpage.py``, ``word.py`` and ``pages.py`` read HTML, DOCX and PDF; ``delimited.py``,
``json_lines.py`` and ``columnar.py`` read CSV and TSV, JSON, Parquet and Arrow.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
