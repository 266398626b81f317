"""What a user writes is text: a model's own tokens are never read out of it, only out of the model's markers.

Left alone, a tokenizer makes its [SEP] of the five characters "[SEP]" wherever they stand. Three things prevent it:

- special tokens are not looked for (``encode_special_tokens``), and the tokens of the markers (ColBERT's [unused0],
  PyLate's "[Q] ") count as special. In the markers themselves an unguessable name stands for each of these tokens;
- a model of pieces (SentencePiece's unigrams) has ``</s>`` among the pieces that it makes words of, too: such a string
  is cut into two words after its first character;
- nothing else is changed, so that a text without such a string gets the tokens that it always got.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers
from tokenizers.models import Unigram

_BRACKETED = re.compile(r"▁?(<[^<>\s▁]+>|\[[^\[\]\s▁]+\])")
_PROBES = (("late", "word"), ("a.", "b"), ("1", "2"), ("the", "The"), ("x)", "-"), ("ﬁ", "é"))
_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff"
_END_OF_WORD = r"""(?<=[\w.,;:!?)\]"'…。])(?=[%s])"""
_BETWEEN_IDEOGRAPHS = f"(?<=[{_IDEOGRAPHS}。、！？])(?=[{_IDEOGRAPHS}])"
_SPACES = "▁Ġ "
_LOOKED_BACK = 1024


class UsersText:
    """How a tokenizer is to be treated, found out from the tokenizer itself; applied to as many copies as are wanted.

    Attributes:
        prompts: for each task what is put before a text, with names that only :meth:`apply` makes known.
        unknown_id: the token for what the vocabulary has no piece for; None where it has one for everything.
    """

    def __init__(self, tokenizer: Tokenizer, prompts: Mapping[str, str]) -> None:
        """Look at a tokenizer as its model came with it.

        Args:
            tokenizer: it is not changed.
            prompts: what is put before a text, for each task.
        """
        self._names: dict[str, AddedToken] = {}
        self._ids: dict[str, int] = {}
        added = tokenizer.get_added_tokens_decoder()
        self.prompts = {task: self._named(prompt, tokenizer, added) for task, prompt in prompts.items()}
        special = [token.content for token in added.values() if token.special]
        self._markers = [added[number].content for number in self._ids.values()]
        self.unknown_id = _unknown_id(tokenizer)
        self._guarded = _read_as_one([*special, *self._markers, *_controls(tokenizer)], tokenizer)
        self._renamed: dict[int, int] = {}
        self.places_to_cut = _places_to_cut(tokenizer)

    def _named(self, prompt: str, tokenizer: Tokenizer, added: Mapping[int, AddedToken]) -> str:
        """A prompt in which unguessable names stand for the added tokens in it."""
        if not prompt:
            return prompt
        encoding, parts, end = tokenizer.encode(prompt, add_special_tokens=False), [], 0
        for number, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
            if number in added and stop > start:
                name = next((name for name, of_it in self._ids.items() if of_it == number), None)
                name = name or f"\ufdd0{secrets.token_hex(8)}\ufdd1"
                self._ids[name], self._names[name] = number, added[number]
                parts += [prompt[end:start], name]
                end = stop
        return "".join([*parts, prompt[end:]])

    def apply(self, tokenizer: Tokenizer) -> Tokenizer:
        """Make a copy of the tokenizer read texts as texts; it is changed, and returned."""
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if self._markers:
            tokenizer.add_special_tokens(self._markers)
        for name, token in self._names.items():
            like = AddedToken(name, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False, special=False)
            tokenizer.add_tokens([like])
            self._renamed[int(tokenizer.token_to_id(name) or 0)] = self._ids[name]
        if self._guarded:
            cut = pre_tokenizers.Split(Regex(_after_first_character(self._guarded)), "merged_with_previous")
            before = tokenizer.pre_tokenizer
            tokenizer.pre_tokenizer = cut if before is None else pre_tokenizers.Sequence([before, cut])
        tokenizer.encode_special_tokens = True
        return tokenizer

    def ids(self, found: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The model's own ids, where an applied tokenizer gave those of names."""
        ids = np.array(found, dtype=np.int64)
        for name, number in self._renamed.items():
            ids[ids == name] = number
        return ids

    def beginning(self, text: str, limit: int, count: Callable[[str], int]) -> str:
        """As much of a text as certainly holds more than ``limit`` tokens, or all of it.

        It ends where a word ends, so that its tokens are the first ones of the whole text.

        Args:
            text: as the user gave it.
            limit: how many tokens are wanted.
            count: how many tokens a text has.
        """
        size = 16 * limit
        while size < len(text):
            stop = self.cut(text, size)
            if stop < len(text) and count(text[:stop]) > limit + 16:
                return text[:stop]
            size = 2 * max(size, stop)
        return text

    def cut(self, text: str, place: int, after: int = 0) -> int:
        """Where a text can be cut in two whose tokens are those of the whole: near a place, or its end.

        Args:
            text: the text.
            place: about where; a cut before it is preferred to one behind it.
            after: before which there shall be no cut, or at it.
        """
        if self.places_to_cut is None:
            return len(text)
        found = [
            match.start() for match in self.places_to_cut.finditer(text, max(after + 1, place - _LOOKED_BACK), place)
        ]
        if found:
            return found[-1]
        later = self.places_to_cut.search(text, place)
        return later.start() if later else len(text)


def reading_text(tokenizer: Any) -> UsersText:
    """Make a tokenizer of transformers read all that it is given as text, and tell how it does."""
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    users_text = UsersText(plain, {})
    tokenizer._tokenizer, tokenizer.split_special_tokens = users_text.apply(plain), True
    return users_text


def blank(piece: str) -> bool:
    """Whether a piece is nothing but the space before a word."""
    return not piece.strip(_SPACES)


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    if isinstance(tokenizer.model, Unigram):
        found = _model(tokenizer).get("unk_id")
        return None if found is None else int(found)
    unknown = getattr(tokenizer.model, "unk_token", None)
    return None if unknown is None else tokenizer.token_to_id(str(unknown))


def _model(tokenizer: Tokenizer) -> dict[str, Any]:
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return model


def _controls(tokenizer: Tokenizer) -> list[str]:
    """Pieces that SentencePiece did not learn but was given: ``<extra_id_0>`` of mT5, bytes such as ``<0x0A>``."""
    if not isinstance(tokenizer.model, Unigram):
        return []
    return [
        piece.strip("▁") for piece, score in _model(tokenizer)["vocab"] if not score and _BRACKETED.fullmatch(piece)
    ]


def _read_as_one(strings: Sequence[str], tokenizer: Tokenizer) -> list[str]:
    """Those of some strings that a tokenizer makes one token of, even where it looks for no special ones."""
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.encode_special_tokens = True
    plain.add_special_tokens([string for string in strings if plain.token_to_id(string) is not None])
    found = []
    for string in dict.fromkeys(strings):
        pieces = {piece.strip("▁") for text in (string, f"a{string}a") for piece in _pieces(plain, text)}
        if len(string) > 1 and string.strip() in pieces:
            found.append(string.strip())
    return found


def _pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return list(tokenizer.encode(text, add_special_tokens=False).tokens)


def _after_first_character(strings: Sequence[str]) -> str:
    """A pattern of the first characters of some strings, where the rest of one follows."""
    rests: dict[str, list[str]] = {}
    for string in strings:
        rests.setdefault(string[0], []).append(re.escape(string[1:]))
    return "|".join(f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items())


def _places_to_cut(tokenizer: Tokenizer) -> re.Pattern[str] | None:
    """Where a text can be cut without changing its tokens; None: nowhere that is known of.

    Most tokenizers make tokens of one word at a time; which white space ends a word for this one is tried out.
    """

    def parts_alike(space: str) -> bool:
        for first, second in _PROBES:
            whole = _pieces(tokenizer, first + space + second + space + first)
            if whole != _pieces(tokenizer, first) + _pieces(tokenizer, space + second + space + first):
                return False
        return True

    spaces = [space for space in (" ", "\n", "\t") if parts_alike(space) and parts_alike(3 * space)]
    if not spaces:
        return None
    pattern = _END_OF_WORD % "".join(map(re.escape, spaces))
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    if "handle_chinese_chars=True" in repr(normalizer) and "BertPreTokenizer" in repr(splitter):
        pattern += f"|{_BETWEEN_IDEOGRAPHS}"
    return re.compile(pattern)
