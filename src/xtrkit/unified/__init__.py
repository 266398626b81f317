"""UR²N: one model that retrieves with its encoder and reranks with its decoder (Bhat et al. 2025).

A monoT5 whose encoder has a second last block beside the first. Below it everything is shared: the retrieval branch
(``encoding/ur2n.py``) gives token vectors for XTR, the untouched encoder and decoder score the best of what it found.

``xtrkit ur2n init`` makes the directory of one out of any monoT5; ``load_unified`` opens it, and ``UnifiedRetriever``
searches with it. The branch is untrained then: it says what the encoder's last block says, through a random projection.

What the paper leaves open, and what is chosen here:

- eq. 4 or the whole block: the whole last block and the final LayerNorm are cloned (``encoding/ur2n.py`` says why);
- prefixes, lengths, normalisation: those of ColXTR, by the same authors ("Query: ", "Document: ", 32, 180, none);
  ``ur2n.json`` says them for each model, so that another choice needs no other code;
- the projection's first values: orthonormal rows, which change inner products least; the identity where d is the width.
"""

from xtrkit.unified.load import load_unified
from xtrkit.unified.retriever import UnifiedRetriever

__all__ = ["UnifiedRetriever", "load_unified"]
