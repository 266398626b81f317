"""Texts in lists side by side with ids and metadata, and cut by functions of the user's, as RAGatouille takes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from xtrkit.errors import InputError
from xtrkit.passage import Metadata, Part, Passage, piece_id

Chunk = Mapping[str, str]
"""A text, or a part of one: its document's id as "document_id", and "content"."""

Splitter = Callable[..., list[Chunk]]
"""Cuts texts: (texts, ids, chunk_size=…) → chunks."""

Preprocessing = Callable[[list[Chunk], list[str]], list[Chunk]]
"""Changes chunks: (chunks, ids) → chunks."""


CHUNKS = 'Functions give chunks such as {"document_id": "1", "content": "…"} of the documents that they are given'


class Texts(NamedTuple):
    """Some texts.

    Attributes:
        texts: {id: text}, in order.
        metadata: {id: metadata}.
    """

    texts: Mapping[str, str]
    metadata: Mapping[str, Metadata | None]

    @classmethod
    def given(
        cls,
        texts: list[str],
        ids: Sequence[str] | None,
        metadatas: Sequence[Metadata | None] | None,
        numbers: Iterable[int],
    ) -> Texts:
        """Texts as the user has them, checked.

        Args:
            texts: the texts.
            ids: their ids.
            metadatas: the metadata of each.
            numbers: ids where there are none.

        Raises:
            InputError: something is no text, the lists are not of one length, or an id comes twice.
        """
        check_texts(texts)
        names = [str(number) for number in islice(numbers, len(texts))] if ids is None else list(ids)
        of_each(texts, names, "document_ids")
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise InputError(f"The id {twice[0]!r} comes twice: make document_ids unique.")
        facts = of_each(texts, metadatas, "document_metadatas")
        return cls(dict(zip(names, texts, strict=True)), dict(zip(names, facts, strict=True)))

    def passages(
        self, splitter: Splitter | None, preprocessing: Preprocessing | list[Preprocessing] | None, length: int
    ) -> list[Passage]:
        """What is indexed: the texts, or what functions of the user's make of them.

        Args:
            splitter: cuts them.
            preprocessing: one function after the other.
            length: tokens that a chunk shall have at most, for the splitter.

        Raises:
            InputError: a function gives something else than chunks.
        """
        ids = list(self.texts)
        chunks: list[Chunk] = [{"document_id": name, "content": text} for name, text in self.texts.items()]
        if splitter is not None:
            chunks = splitter(list(self.texts.values()), ids, chunk_size=length)
        for function in preprocessing if isinstance(preprocessing, list) else [preprocessing]:
            chunks = chunks if function is None else function(_listed(chunks), ids)
        parts = [self._checked(chunk) for chunk in _listed(chunks)]
        if splitter is None:
            return [Passage(name, text, self.metadata[name]) for name, text in parts]
        return self._pieces(parts)

    def _checked(self, chunk: Any) -> tuple[str, str]:
        try:
            name, text = chunk["document_id"], chunk["content"]
            _ = self.texts[name]
        except (KeyError, TypeError) as error:
            raise InputError(f"{CHUNKS}, got {chunk!r:.80}.") from error
        return name, text

    def _pieces(self, parts: Iterable[tuple[str, str]]) -> list[Passage]:
        """Chunks as passages that know where in their document they were."""
        numbers, reached, passages = Counter[str](), Counter[str](), list[Passage]()
        for name, text in parts:
            numbers[name] += 1
            whole = self.texts[name]
            first = whole.find(text, reached[name])
            # Of what was changed nobody knows where it was: somewhere in the document.
            part = Part(name, 0, len(whole)) if first < 0 else Part(name, first, first + len(text))
            reached[name] = max(reached[name], first + 1)
            passages.append(Passage(piece_id(name, numbers[name]), text, self.metadata[name], part))
        return passages


def _listed(chunks: Any) -> list[Chunk]:
    """What a function of the user's gave."""
    if isinstance(chunks, str | Mapping) or not isinstance(chunks, Iterable):
        raise InputError(f"{CHUNKS}, in a list, got {chunks!r:.80}.")
    return list(chunks)


def check_texts(texts: Any) -> None:
    """Refuse what is no list of texts.

    Raises:
        InputError: it is none.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InputError(f"Texts come as a list, got {texts!r:.40} of type {type(texts).__name__}.")
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"Texts must be strings, got {text!r:.40} of type {type(text).__name__}.")


def of_each(texts: Sequence[str], given: Sequence[Any] | None, name: str) -> Sequence[Any]:
    """What was given of each text; None of each where it was left out.

    Args:
        texts: the texts.
        given: one entry a text.
        name: what the user calls it.

    Raises:
        InputError: there are more, or fewer.
    """
    if given is None:
        return [None] * len(texts)
    if len(given) != len(texts):
        raise InputError(f"{name} must have one entry for each of the {len(texts)} texts, got {len(given)}.")
    return given
