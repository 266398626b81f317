"""Query token -> its nearest document tokens, the first stage of every system here.

``exact.py`` looks at every token vector of the corpus: the oracle. ``centroid.py`` opens the clusters nearest to the
query token and looks at the compressed tokens in them.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
