"""``retrieve.ColBERT`` and ``retrieve.XTR``: an index's best documents, by MaxSim or by the retrieved tokens alone."""

from __future__ import annotations

from xtrkit.compat.pylate.indexes import PLAID, Subset
from xtrkit.compat.pylate.rank import RerankResult
from xtrkit.compat.saying import without_meaning
from xtrkit.compat.vectors import Embeddings
from xtrkit.errors import InputError
from xtrkit.recipes import XTR as XTR_RECIPE
from xtrkit.recipes import Recipe

XTR_TOKENS = 10_000
"""k' that PyLate's retriever of XTR has where none is given."""


class ColBERT:
    """Ranks by MaxSim: for each query token its best similarity with a document, added up."""

    def __init__(self, index: PLAID) -> None:
        """Take an index of :mod:`xtrkit.compat.pylate.indexes`.

        Raises:
            InputError: it is none.
        """
        if not isinstance(index, PLAID):
            raise InputError(
                f"An index is one of xtrkit.compat.pylate.indexes, such as PLAID, got {index!r:.60} of type "
                f"{type(index).__name__}."
            )
        self.index = index

    def retrieve(
        self,
        queries_embeddings: Embeddings,
        k: int = 10,
        k_token: int | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        subset: Subset | None = None,
    ) -> list[list[RerankResult]]:
        """The k best documents of each query: ``[{"id", "score"}, …]``, best first.

        Args:
            queries_embeddings: token vectors of each query.
            k: how many; fewer come back only where there are fewer.
            k_token: k' of XTR; MaxSim has none.
            device: has no meaning here: the index was opened for one.
            batch_size: has no meaning here.
            subset: ids of the documents that may be found, or a list of ids for each query.

        Raises:
            InputError: the index is empty, k or a query can't be used, or the subset names what is not there.
        """
        without_meaning("device", device, "cpu", "the index was opened for one")
        without_meaning("batch_size", batch_size, None, "one query is looked up after the other")
        return self.index(queries_embeddings, k, subset, self._recipe(k_token))

    def _recipe(self, k_token: int | None) -> Recipe | None:
        without_meaning("k_token", k_token, None, "the clusters next to the query's tokens are opened (n_ivf_probe)")
        return None


class XTR(ColBERT):
    """Ranks by the retrieved tokens alone (eq. 4 of XTR), in sums as PyLate does; here with subsets, too."""

    def _recipe(self, k_token: int | None) -> Recipe:
        return XTR_RECIPE.but(
            k_prime=XTR_TOKENS if k_token is None else k_token, reduction="sum", nprobe=self.index.recipe.nprobe
        )
