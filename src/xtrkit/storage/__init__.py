"""How an index lies on disk: files that are written once, and manifests that say which of them make a generation.

Nothing here knows about tokens or scores: segments are named arrays, passages and tombstones. ``docs/index-format.md``
is the specification; the chapters are ``files`` (write once, commit by link), ``arrays`` (safetensors, viewed in
place), ``passages`` (SQLite inside a segment), ``tombstones``, ``manifest``, ``generations`` (pin, commit,
collect), ``shards`` (several directories as one) and ``transport`` (to other machines).
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
