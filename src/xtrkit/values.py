"""The nouns that travel between the parts: ragged token embeddings, segments, token hits, an encoder's identity.

All are frozen, those that hold arrays hold contiguous ones, and they carry no algorithm. Letters in the shapes:

==  ==========================================================
N   documents (or texts)
M   token vectors of all documents together
d   dimensions of a token vector
n   query tokens
H   token hits of all query tokens of one query together
==  ==========================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from xtrkit.errors import InputError

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
Reduction = Literal["mean", "sum"]
"""What becomes of the sum over query tokens: divided by their number, or left as it is."""

EVERYONE: Mask = np.zeros(0, dtype=np.bool_)
"""The mask that leaves nobody out, without an entry for each: how kernels are told so."""


SMALL_FLOATS = ("bfloat16", "float8_", "float6_", "float4_")


def as_floats(given: Any, what: str) -> FloatArray:
    """Token vectors of a text as NumPy's, whatever library they are of: NumPy, torch, JAX, TensorFlow, ml_dtypes.

    Tensors are taken from any device, with or without gradients, and no library is imported for them.

    Args:
        given: an array or a tensor of floating-point numbers.
        what: whose they are, for messages: "Document 'a'".

    Raises:
        InputError: it is none, or of other numbers, or some of it is masked.
    """
    array = given
    try:
        if hasattr(given, "detach") and hasattr(given, "is_floating_point"):
            array = _of_torch(given)
        elif not isinstance(given, np.ndarray) and hasattr(given, "__array__"):
            array = np.asarray(given)
        if isinstance(array, np.ndarray) and array.dtype.name.startswith(SMALL_FLOATS):  # of ml_dtypes
            array = array.astype(np.float32)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{what}: a {type(given).__name__} can't be read as an array ({error}).") from error
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.floating):
        got = getattr(array, "dtype", type(array).__name__)
        raise InputError(f"{what}: expected an array of floating-point numbers, got {got}.")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise InputError(f"{what}: some of the array is masked: give the token vectors that count, without a mask.")
    return np.asarray(array)


def _of_torch(tensor: Any) -> Any:
    """A tensor's numbers in at least float32; what is no floating-point tensor as it is."""
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.detach()
    return (tensor if tensor.element_size() > 4 else tensor.float()).cpu().numpy()


def offsets_of(lengths: IntArray) -> npt.NDArray[np.int64]:
    """Where each run begins and ends: (N,) lengths -> (N + 1,) offsets, the first 0, the last their sum."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def full_mask(mask: Mask, n_documents: int) -> Mask:
    """(N,) a mask with an entry for each document, where ``EVERYONE`` may be given."""
    return mask if len(mask) else np.ones(n_documents, dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Ragged:
    """Token embeddings of several texts, without padding.

    Attributes:
        rows: (M, d) token vectors of all texts, one text after the other.
        lengths: (N,) how many rows each text has; their sum is M.
        offsets: (N + 1,) where each text's rows begin and end, derived from ``lengths``.

    A ``Ragged`` is a sequence of (length, d) views, so it can stand wherever a list of arrays can.
    """

    rows: FloatArray
    lengths: IntArray
    offsets: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.rows.ndim != 2:
            raise InputError(f"Ragged rows must have two axes (tokens, dimensions), got shape {self.rows.shape}.")
        if self.lengths.ndim != 1 or (len(self.lengths) and self.lengths.min() < 0):
            raise InputError("Ragged lengths must be one row of numbers that are not negative.")
        offsets = offsets_of(self.lengths)
        if offsets[-1] != len(self.rows):
            raise InputError(f"Ragged lengths add up to {offsets[-1]}, but there are {len(self.rows)} rows.")
        object.__setattr__(self, "offsets", offsets)

    @classmethod
    def from_arrays(cls, arrays: Iterable[FloatArray], dim: int | None = None) -> Ragged:
        """Join (tokens, d) arrays; ``dim`` is needed only where there may be none of them."""
        parts = list(arrays)
        if not parts:
            if dim is None:
                raise InputError("Joining no arrays needs the dimension: pass dim=.")
            return cls(np.zeros((0, dim), dtype=np.float32), np.zeros(0, dtype=np.int64))
        return cls(np.concatenate(parts), np.array([len(part) for part in parts], dtype=np.int64))

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return int(self.rows.shape[1])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, text: int) -> FloatArray:
        if not -len(self) <= text < len(self):
            raise IndexError(text)
        text %= len(self)
        return self.rows[self.offsets[text] : self.offsets[text + 1]]

    def __iter__(self) -> Iterator[FloatArray]:
        return (self[text] for text in range(len(self)))


class TokenStore(Protocol):
    """The tokens of a segment, documents numbered from 0, however they are kept."""

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's tokens begin and end, counted document after document."""

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""

    @property
    def n_documents(self) -> int:
        """Number of documents, N."""

    def vectors(self, tokens: slice | npt.NDArray[np.int64]) -> FloatArray:
        """The (K, d) vectors of some tokens, counted document after document, as well as they are known."""


Tokens = TypeVar("Tokens", bound=TokenStore)


class TokenVectors(NamedTuple):
    """Token vectors as the exact engine reads them: a :class:`TokenStore`.

    Attributes:
        halves: (M, d) float16, usually mapped from disk.
        document_offsets: (N + 1,) where each document's rows begin and end.
    """

    halves: npt.NDArray[np.float16]
    document_offsets: npt.NDArray[np.int64]

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return int(self.halves.shape[1])

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""
        return len(self.halves)

    @property
    def n_documents(self) -> int:
        """Number of documents, N."""
        return len(self.document_offsets) - 1

    def vectors(self, tokens: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """(K, d) the vectors of some tokens."""
        return np.asarray(self.halves[tokens])


@dataclass(frozen=True, eq=False)
class Segment(Generic[Tokens]):
    """Some consecutive documents of a corpus, as they were written together; deleted ones stay in it, dead.

    Attributes:
        tokens: their tokens: :class:`TokenVectors` or
            :class:`~xtrkit.indexing.compressed_format.CompressedTokens`.
        live: (N,) which of the N documents are alive; empty where all are, as kernels want it.
    """

    tokens: Tokens
    live: Mask = field(default_factory=lambda: EVERYONE)

    @property
    def living(self) -> Mask:
        """(N,) which documents are alive, with an entry for each."""
        return full_mask(self.live, self.tokens.n_documents)


@dataclass(frozen=True)
class EncoderIdentity:
    """Which model made the vectors of an index, so that no other model is asked to search it.

    Attributes:
        name: what the user called the model: ``"xtrkit-mini"``, a directory, a hub name.
        layout: the checkpoint layout that was recognised, such as ``"xtr"``.
        fingerprint: sha256 over everything that decides the embeddings (weights, tokenizer, lengths, markers).
        dim: d, dimensions of a token vector.
        query_length: most tokens of a query.
        document_length: most tokens of a document; longer ones are cut off there.
    """

    name: str
    layout: str
    fingerprint: str
    dim: int
    query_length: int
    document_length: int


@dataclass(frozen=True)
class Splitting:
    """How the long documents of an index are cut into passages, those that are added later, too.

    Attributes:
        window: most tokens of a passage, markers included.
        overlap: how many tokens neighbours have in common at most.
    """

    window: int
    overlap: int


@dataclass(frozen=True)
class Pooling:
    """How token vectors of a document that are alike become one, those of documents that are added later, too.

    Attributes:
        factor: one vector is kept for so many.
        protected: how many of the first vectors of a document stay as they are.
    """

    factor: int
    protected: int = 0

    def __post_init__(self) -> None:
        for what, number, least in (("pool_factor", self.factor, 1), ("protected_tokens", self.protected, 0)):
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise InputError(f"{what} must be a whole number of at least {least}, got {number!r}.")


@dataclass(frozen=True, eq=False)
class TokenHits:
    """What token retrieval found for one query: for each query token, some document tokens with their similarity.

    The hits of query token i are ``slice(offsets[i], offsets[i + 1])``, in ascending order of ``rows`` and therefore
    grouped by document. What was not retrieved is absent: no placeholder stands for it.

    Attributes:
        rows: (H,) the row of each retrieved token vector in the index, 0 … M - 1.
        documents: (H,) the number of the document that the token belongs to, 0 … N - 1.
        scores: (H,) float32, similarity q_i · d_j.
        offsets: (n + 1,) where each query token's hits begin and end.
    """

    rows: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]

    @property
    def n_query_tokens(self) -> int:
        """How many query tokens were looked up, n."""
        return len(self.offsets) - 1

    def of(self, query_token: int) -> slice:
        """Where the hits of one query token stand in the arrays."""
        return slice(int(self.offsets[query_token]), int(self.offsets[query_token + 1]))

    def at_least(self, lowest: FloatArray) -> TokenHits:
        """Those whose similarity is not below (n,) ``lowest``."""
        return self.those(self.scores >= np.repeat(lowest, np.diff(self.offsets)))

    def those(self, kept: Mask) -> TokenHits:
        """Those that (H,) ``kept`` marks."""
        if kept.all():
            return self
        owners = np.repeat(np.arange(self.n_query_tokens), np.diff(self.offsets))[kept]
        offsets = offsets_of(np.bincount(owners, minlength=self.n_query_tokens))
        return TokenHits(self.rows[kept], self.documents[kept], self.scores[kept], offsets)
