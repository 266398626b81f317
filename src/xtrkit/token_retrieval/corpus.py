"""What is searched: segments of documents, numbered through, the dead ones among them left out.

A search of several segments equals the search of one that holds their living documents alone: whatever is estimated
from the tokens (k', imputation) is estimated from those of all segments together, and from no dead one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Generic, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.compressed_format import CompressedTokens, Quantiser
from xtrkit.kernels.bundles import Centroids, Slots, empty_slots
from xtrkit.values import FloatArray, Mask, Segment, Tokens, TokenVectors, offsets_of


class _Corpus(Generic[Tokens]):
    """Segments whose documents are numbered through.

    Attributes:
        segments: the segments, one at least.
        first_documents: (S,) number of each segment's first document.
        document_offsets: (N + 1,) where each document's tokens begin and end, counted document after document through
            all segments, dead ones included.
        findable: (N,) which documents are alive and have tokens.
        n_tokens: token vectors of living documents, M.
    """

    def __init__(self, segments: Sequence[Segment[Tokens]]) -> None:
        self.segments = tuple(segments)
        stores = [segment.tokens for segment in segments]
        self.first_documents = offsets_of(np.array([store.n_documents for store in stores], dtype=np.int64))[:-1]
        if len(stores) == 1:
            self.document_offsets = stores[0].document_offsets
        else:
            self.document_offsets = offsets_of(np.concatenate([np.diff(store.document_offsets) for store in stores]))
        self.findable: Mask = np.concatenate([segment.living for segment in segments])
        self.findable &= np.diff(self.document_offsets) > 0
        self.n_tokens = int(np.diff(self.document_offsets)[self.findable].sum())

    @property
    def n_documents(self) -> int:
        """Number of documents, N, dead ones included."""
        return len(self.document_offsets) - 1

    def segment_of(self, document: int) -> tuple[int, int]:
        """In which segment a document is, and its number there."""
        segment = int(np.searchsorted(self.first_documents, document, side="right")) - 1
        return segment, document - int(self.first_documents[segment])

    def by_segment(self, documents: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Which of some documents are in each segment: places in ``documents``, segment after segment."""
        owners = np.searchsorted(self.first_documents, documents, side="right") - 1
        return [np.flatnonzero(owners == segment) for segment in range(len(self.segments))]

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, as well as they are known."""
        segment, inside = self.segment_of(document)
        tokens = self.segments[segment].tokens
        return tokens.vectors(slice(tokens.document_offsets[inside], tokens.document_offsets[inside + 1]))

    def wanted(self, subset: Mask | None) -> Mask:
        """(N,) the documents that may be found."""
        return self.findable if subset is None else self.findable & subset


class ExactCorpus(_Corpus[TokenVectors]):
    """Segments of float16 vectors."""


class Clusters(Protocol):
    """What is known of the clusters of an index without looking at a token: enough to choose among them."""

    @property
    def quantiser(self) -> Quantiser:
        """Centroids and codec."""

    @property
    def centroids(self) -> Centroids:
        """The centroids with the sizes of their clusters, as kernels read them."""

    @property
    def n_clusters(self) -> int:
        """Number of centroids, C."""

    @property
    def n_tokens(self) -> int:
        """Token vectors of living documents, M."""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(C,) how many living tokens each cluster has."""


class ClusterTable:
    """Clusters whose tokens are elsewhere.

    Attributes:
        quantiser: centroids and codec.
        sizes: (C,) how many living tokens each cluster has.
        centroids: the centroids with these sizes, as kernels read them.
        n_tokens: M.
    """

    def __init__(self, quantiser: Quantiser, sizes: npt.NDArray[np.int64]) -> None:
        self.quantiser, self.sizes = quantiser, sizes
        self.centroids = quantiser.centroids_with(sizes)
        self.n_tokens = int(sizes.sum())

    @property
    def n_clusters(self) -> int:
        """Number of centroids, C."""
        return self.quantiser.n_clusters


class ClusteredCorpus(_Corpus[CompressedTokens]):
    """Segments of compressed tokens, all assigned to the same centroids.

    Attributes:
        quantiser: centroids and codec.
        cluster_offsets: (C + 1,) where each cluster's living tokens would begin and end if all segments were one.
        centroids: the centroids with these sizes, as kernels read them.
    """

    def __init__(self, segments: Sequence[Segment[CompressedTokens]]) -> None:
        super().__init__(segments)
        self.quantiser = segments[0].tokens.quantiser
        sizes = np.sum([_living_sizes(segment) for segment in segments], axis=0)
        self.cluster_offsets = offsets_of(sizes)
        self.centroids = self.quantiser.centroids_with(sizes)
        self._local = threading.local()

    @property
    def n_clusters(self) -> int:
        """Number of centroids, C."""
        return self.quantiser.n_clusters

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(C,) how many living tokens each cluster has."""
        return np.diff(self.cluster_offsets)

    def slots(self) -> Slots:
        """Zeros to add up documents in, this thread's own; they must be zeros again afterwards.

        A query meets few of the documents, and clearing what it met costs less than new memory for all.
        """
        slots: Slots | None = getattr(self._local, "slots", None)
        if slots is None:
            slots = self._local.slots = empty_slots(self.n_documents)
        return slots


def _living_sizes(segment: Segment[CompressedTokens]) -> npt.NDArray[np.int64]:
    """(C,) how many tokens of living documents each cluster has.

    Counted by what kernels read, the rows' documents: were these damaged and contradicted the positions, a kernel would
    find more tokens than it has room for.
    """
    tokens, living = segment.tokens, segment.living
    sizes = np.diff(tokens.cluster_offsets)
    if living.all():  # documents are left on disk
        return sizes
    dead = tokens.clusters_of(np.flatnonzero(~living[tokens.documents]))
    return np.asarray(sizes - np.bincount(dead, minlength=len(sizes)))
