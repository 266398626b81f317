"""Which two words a monoT5 was trained to answer with; they differ by checkpoint, and nothing in its files says so."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from xtrkit.errors import ModelError


class TokenPair(NamedTuple):
    """The pieces whose logits make the score: irrelevant, relevant."""

    false: str
    true: str


ENGLISH = TokenPair("▁false", "▁true")
TOKEN_PAIRS: tuple[tuple[str, TokenPair], ...] = (
    ("castorini/monot5-*", ENGLISH),
    ("unicamp-dl/mt5-3b-mmarco-en-pt", TokenPair("▁", "▁true")),
    ("unicamp-dl/mt5-13b-mmarco-100k", TokenPair("▁", "▁true")),
    ("unicamp-dl/mt5-base-*", TokenPair("▁no", "▁yes")),
    ("unicamp-dl/ptt5-*", TokenPair("▁não", "▁sim")),
)
"""Names on the hub, in lower case, and their pair: as rank_llm and pygaggle use them. The first that matches holds."""


def pair_for(
    name: str, model_type: str, vocabulary: Mapping[str, int], chosen: tuple[str, str] | None = None
) -> TokenPair:
    """The pair of a checkpoint: what the caller chose, or what its name says, or ▁false and ▁true for an English T5.

    Raises:
        ModelError: the vocabulary lacks one of the two, or nobody knows the pair of this model.
    """
    named = next((pair for pattern, pair in TOKEN_PAIRS if fnmatchcase(name.lower(), pattern)), None)
    pair = TokenPair(*chosen) if chosen else named or (ENGLISH if model_type == "t5" else None)
    if pair is None:
        raise ModelError(
            f"Which two tokens {name!r} ({model_type}) answers with isn't known, and scores of others would be "
            'meaningless: say them with tokens= (--tokens), such as ("▁no", "▁yes").'
        )
    missing = [piece for piece in pair if piece not in vocabulary]
    if missing:
        raise ModelError(
            f"The vocabulary of {name!r} has no {' and no '.join(missing)}, so it can't rerank by {pair.false} and "
            f"{pair.true}: use a monoT5, or say its two tokens with tokens= (--tokens)."
        )
    return pair
