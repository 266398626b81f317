"""What an encoder is to the rest of xtrkit: a contract, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from xtrkit.values import EncoderIdentity, Ragged

Task = Literal["query", "document"]


class Token(NamedTuple):
    """One token that has a vector: its piece of text, and the characters ``text[start:end]`` it was made from.

    Tokens that stand for no characters (``</s>``, ``[CLS]``, ``[MASK]``) have ``start == end``.
    """

    piece: str
    start: int
    end: int


class Reading(NamedTuple):
    """How much of some texts a model can read.

    Attributes:
        pieces: how many pieces they have, markers left out.
        unknown: for how many of them the model has none, so that they all look alike to it.
    """

    pieces: int
    unknown: int


class EncodedChunk(NamedTuple):
    """Embeddings of some consecutive texts of a stream, and how many of these texts had to be truncated."""

    embeddings: Ragged
    truncated: int


@runtime_checkable
class Encoder(Protocol):
    """Turns texts into token embeddings; queries and documents may be treated differently.

    Embeddings of a text never depend on the texts beside it. A text without any word still has at least one vector.
    What a text holds is text: "[SEP]" in it is five characters, not the model's token of that name.
    ``batch_size`` counts texts of 128 tokens: a batch holds fewer long texts and more short ones.
    """

    @property
    def identity(self) -> EncoderIdentity:
        """Which model this is."""

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False) -> Ragged:
        """Token embeddings of queries, in the order given: (n, d) float32 rows for each query."""

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False) -> Ragged:
        """Token embeddings of documents, in the order given: (m, d) float32 rows for each document."""

    def stream_documents(
        self, texts: Iterable[str], *, batch_size: int = 32, chunk_size: int = 256
    ) -> Iterator[EncodedChunk]:
        """Encode a stream of any length, ``chunk_size`` texts at a time, holding no more than that in memory."""

    def query_token_count(self, text: str) -> int:
        """How many tokens a query has, markers included and [MASK]s not, before anything is cut off."""

    def document_token_count(self, text: str) -> int:
        """How many tokens a document has, markers included, before anything is cut off."""

    def is_query_truncated(self, text: str) -> bool:
        """Whether a query is longer than the window; of a long one no more is looked at than it takes to tell."""

    def is_document_truncated(self, text: str) -> bool:
        """Whether a document is longer than the window; of a long one no more is looked at than it takes to tell."""

    def readability(self, texts: Sequence[str], task: Task = "document") -> Reading:
        """How many pieces of some texts the model has none for; of long texts only the beginning is looked at."""

    def query_tokens(self, text: str) -> list[Token]:
        """The tokens behind the rows of ``encode_queries([text])``, one for each row, in order."""

    def document_tokens(self, text: str) -> list[Token]:
        """The tokens behind the rows of ``encode_documents([text])``, one for each row, in order."""


def markers_before(encoder: Encoder) -> int:
    """How many tokens with a vector a model puts before the text of a document: [CLS], [D], a prefix."""
    tokens = encoder.document_tokens("a")
    return next((place for place, token in enumerate(tokens) if token.start < token.end), 0)
