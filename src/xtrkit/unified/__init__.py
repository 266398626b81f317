"""UR²N: one model that retrieves with its encoder and reranks with its decoder (Bhat et al. 2025).

A monoT5 whose encoder has a second last block beside the first. Below it everything is shared: the retrieval branch
gives token vectors for XTR, the untouched encoder and decoder score the best of what it found.

``encoding/ur2n.py`` is the branch and how it lies on disk; ``model.py`` the whole model in torch; ``load.py`` opens one
(``load_unified``) and makes one of any monoT5 (``init_unified``, ``xtrkit ur2n init``). Made so, the branch is
untrained: it says what the encoder's last block says, through a random projection. ``training/branch.py`` trains it.

The encoder and the reranker of a :class:`~xtrkit.unified.model.UnifiedModel` go where any others do::

    model = load_unified(directory)
    retriever = Retriever(index, model.encoder, reranker=model.reranker)

What the paper leaves open, and what is chosen here:

- eq. 4 or the whole block: the whole last block and the final LayerNorm are cloned (``encoding/ur2n.py`` says why);
- prefixes, lengths, normalisation: those of ColXTR, by the same authors ("Query: ", "Document: ", 32, 180, none);
  ``ur2n.json`` says them for each model, so that another choice needs no other code;
- the projection's first values: orthonormal rows, which change inner products least; the identity where d is the width.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.unified.load import init_unified, load_unified

_HOMES = {
    "init_unified": "xtrkit.unified.load",
    "load_unified": "xtrkit.unified.load",
}

__all__ = ["init_unified", "load_unified"]

__getattr__, __dir__ = lazy(__name__, _HOMES)
