"""monoT5's prompt, and how a document is cut so that the prompt stays whole.

``Query: … Document: … Relevant:`` ends with the word whose continuation is the score. Cutting the whole string at the
model's length, as its first implementation did, would cut that word off exactly where documents are long.
"""

from __future__ import annotations

from collections.abc import Callable

MAX_LENGTH = 512
"""Most tokens of a prompt, ``</s>`` included, in Nogueira et al. 2020."""

Offsets = Callable[[str], list[tuple[int, int]]]
"""From a text to the characters (start, end) of each of its tokens; ``</s>`` and its like have start == end."""


def prompt(query: str, document: str) -> str:
    """What monoT5 reads (Bhat et al. 2025, eq. 3)."""
    return f"Query: {query} Document: {document} Relevant:"


def fitting_prompt(query: str, document: str, offsets: Offsets, max_length: int = MAX_LENGTH) -> str:
    """The prompt of a query and as much of a document as fits.

    Args:
        query: cut only where it alone would take more than half of ``max_length``.
        document: cut at the end of a token.
        offsets: the tokenizer.
        max_length: most tokens of the prompt.

    Returns:
        a text of at most ``max_length`` tokens that begins with "Query:" and ends with "Relevant:".
    """
    whole = prompt(query, document)
    if len(offsets(whole)) <= max_length:
        return whole
    query = _beginning(query, offsets, max_length // 2)
    room = max_length - len(offsets(prompt(query, "")))
    while True:
        document = _beginning(document, offsets, room)
        found = len(offsets(prompt(query, document)))
        if found <= max_length or not document:
            return prompt(query, document)
        room -= found - max_length  # tokens at the seams are not always those of the parts


def _beginning(text: str, offsets: Offsets, n_tokens: int) -> str:
    """The characters of the first ``n_tokens`` tokens of a text."""
    spans = [(start, end) for start, end in offsets(text) if end > start]
    if len(spans) <= n_tokens:
        return text
    return text[: spans[n_tokens - 1][1]].rstrip() if n_tokens > 0 else ""
