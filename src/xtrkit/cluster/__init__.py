"""One index in shards, on one machine or several, searched with the ranking of one index, bit for bit.

A **shard** holds the tokens of some of the documents; all shards have the same centroids and codec. The
**coordinator** (``engine.py``) knows centroids and the sizes of clusters over all shards, and no token: it quantises a
query, chooses the clusters, and asks every shard to open them (``messages.py``, ``shard.py``). What imputation needs
of opened tokens are integers that add up over shards in any order, and the k'-th best of similarities, so m_i is that
of one index. A document's score is summed within its shard, and the best of all shards are the best of the index.
Equality is with the index whose documents are those of the shards, one shard after the other.

Shards of exact vectors (``exact_engine.py``, ``exact_shard.py``) retrieve their best tokens; the coordinator tells each
how many of them are among the best of all.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
