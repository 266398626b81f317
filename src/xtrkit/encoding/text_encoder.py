"""What all encoders do alike: queries, documents and streams of them, from one way of encoding some texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, get_args

from xtrkit.encoding.base import EncodedChunk, Reading, Task, Token
from xtrkit.encoding.users_text import UsersText, blank
from xtrkit.errors import InputError, ModelError
from xtrkit.values import EncoderIdentity, Ragged

BLOCK = 1 << 16
"""Characters of a text that are counted at a time."""


class Opening(NamedTuple):
    """What an encoder was opened with: enough to open it again in another process.

    Attributes:
        name: what the user called it, or the directory it lies in.
        device: as in :func:`~xtrkit.encoding.load.load_encoder`, as all that follow.
        threads: how many threads compute.
        query_length: most tokens of a query.
        document_length: most tokens of a document.
        runtime: what encodes documents.
    """

    name: str
    device: str | None = None
    threads: int | None = None
    query_length: int | None = None
    document_length: int | None = None
    runtime: str | None = None


class TextEncoder(ABC):
    """The base of the encoders that come with xtrkit.

    An encoder can be pickled, for example to be given to a process that was spawned. What travels is its name and what
    else it was opened with, never its weights: the other process opens it again, from the same files.

    Attributes:
        opening: what it was opened with.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening = opening

    def __reduce__(self) -> tuple[Any, ...]:
        return opened_again, (self.opening,)

    @property
    @abstractmethod
    def identity(self) -> EncoderIdentity:
        """Which model this is."""

    @property
    @abstractmethod
    def computed_by(self) -> str:
        """What documents are encoded by, for an index to remember: library, version, device and precision."""

    @property
    def nprobe(self) -> int | None:
        """How many clusters XTR is to open for a query token where the caller doesn't say; None: as many as usual."""
        return None

    @abstractmethod
    def _encode(self, texts: Sequence[str], task: Task, batch_size: int, progress: bool) -> EncodedChunk:
        """Token embeddings of some texts, and how many of them were truncated."""

    @property
    @abstractmethod
    def _users_text(self) -> UsersText:
        """How the tokenizer reads what users write."""

    @abstractmethod
    def _limit(self, task: Task) -> int:
        """Most tokens of a text, markers included."""

    @abstractmethod
    def _counted(self, text: str, task: Task) -> int:
        """How many tokens a text has, markers included, before anything is cut off; the text is read whole."""

    @abstractmethod
    def _pieces(self, text: str) -> tuple[list[str], list[int]]:
        """The pieces of a text without markers, and their ids."""

    @abstractmethod
    def _tokens(self, text: str, task: Task) -> list[Token]:
        """The tokens of a text that have a vector, in order."""

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False) -> Ragged:
        """Token embeddings of queries, in the order given: (n, d) float32 rows for each query."""
        return self._encode(texts, "query", batch_size, progress).embeddings

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False) -> Ragged:
        """Token embeddings of documents, in the order given: (m, d) float32 rows for each document."""
        return self._encode(texts, "document", batch_size, progress).embeddings

    def stream_documents(
        self, texts: Iterable[str], *, batch_size: int = 32, chunk_size: int = 256
    ) -> Iterator[EncodedChunk]:
        """Encode a stream of any length, ``chunk_size`` texts at a time, holding no more than that in memory."""
        check_chunk_size(chunk_size)
        check_texts(texts)
        stream = iter(texts)
        while chunk := list(islice(stream, chunk_size)):
            yield self._encode(chunk, "document", batch_size, progress=False)

    def query_token_count(self, text: str) -> int:
        """How many tokens a query has, markers included and [MASK]s not, before anything is cut off."""
        return self._token_count(text, "query")

    def is_query_truncated(self, text: str) -> bool:
        """Whether a query is longer than the window; of a long one no more is looked at than it takes to tell."""
        return self._is_truncated(text, "query")

    def is_document_truncated(self, text: str) -> bool:
        """Whether a document is longer than the window; of a long one no more is looked at than it takes to tell."""
        return self._is_truncated(text, "document")

    def readability(self, texts: Sequence[str], task: Task = "document") -> Reading:
        """How many pieces of some texts the model has none for; of long texts only the beginning is looked at."""
        check_texts(texts)
        pieces = unknown = 0
        for text in texts:
            found, ids = self._pieces(self._beginning(text, task))
            missing = [number == self._users_text.unknown_id for number in ids]
            pieces += sum(gone or not blank(piece) for piece, gone in zip(found, missing, strict=True))
            unknown += sum(missing)
        return Reading(pieces, unknown)

    def document_token_count(self, text: str) -> int:
        """How many tokens a document has, markers included, before anything is cut off."""
        return self._token_count(text, "document")

    def query_tokens(self, text: str) -> list[Token]:
        """The tokens behind the rows of ``encode_queries([text])``, one for each row, in order."""
        return self._tokens(text, "query")

    def document_tokens(self, text: str) -> list[Token]:
        """The tokens behind the rows of ``encode_documents([text])``, one for each row, in order."""
        return self._tokens(text, "document")

    def _beginning(self, text: str, task: Task) -> str:
        """As much of a text as certainly holds more tokens than the window, or all of it."""
        if not isinstance(text, str):
            raise InputError(f"A text must be a string, got {type(text).__name__}.")
        return self._users_text.beginning(text, self._limit(task), lambda part: self._counted(part, task))

    def _is_truncated(self, text: str, task: Task) -> bool:
        # A token stands for an ASCII character at least, but for a space that some tokenizers put before a text.
        if text.isascii() and len(text) < self._limit(task) - self._markers[task]:
            return False
        return self._counted(self._beginning(text, task), task) > self._limit(task)

    def _token_count(self, text: str, task: Task) -> int:
        """How many tokens a text has, markers included, before anything is cut off; block by block."""
        count, start = 0, 0
        while True:
            stop = self._users_text.cut(text, start + BLOCK, start) if start + BLOCK < len(text) else len(text)
            if start == 0:
                count = self._counted(text[:stop], task)
            else:
                count += len(self._pieces(text[start:stop])[1])
            if stop == len(text):
                return count
            start = stop

    @cached_property
    def _markers(self) -> dict[Task, int]:
        """For each task, how many tokens an empty text has."""
        return {task: self._counted("", task) for task in get_args(Task)}


def opened_again(opening: Opening) -> Any:
    """Open the encoder that was pickled.

    Raises:
        ModelError: there is no model of that name here.
    """
    from xtrkit.encoding.load import load_encoder

    try:
        return load_encoder(opening.name, **{key: value for key, value in opening._asdict().items() if key != "name"})
    except ModelError as error:
        raise ModelError(pickled_hint("encoder", opening.name, error)) from error


def pickled_hint(what: str, name: str, error: ModelError) -> str:
    """The message of the error where a model that was pickled can't be opened again."""
    return (
        f"The {what} {name!r} was pickled, which keeps its name and no weights, and can't be opened in this process: "
        f"put its files where that name finds them, or load it here from where they are. {error}"
    )


def check_texts(texts: Iterable[str], batch_size: int = 1) -> None:
    """Refuse what can't be encoded, before anything is.

    Raises:
        InputError: one string instead of several, or no room for a text in a batch.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    if isinstance(texts, str):
        raise InputError("Expected several texts, got one string: pass a list, such as [text].")


def check_chunk_size(chunk_size: int) -> None:
    """Refuse chunks without texts.

    Raises:
        InputError: ``chunk_size`` is below 1.
    """
    if chunk_size < 1:
        raise InputError(f"chunk_size must be at least 1, got {chunk_size}.")
