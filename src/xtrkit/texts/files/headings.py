"""Where the headings of a text are, and the sections below them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from xtrkit.texts.document import Section

_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_NO_PARAGRAPH = re.compile(r" {0,3}([-*+>|]|\d+[.)]|<)|    |\t")
_RAW = (("<!--", "-->"), ("<pre", "</pre>"), ("<script", "</script>"), ("<style", "</style>"))
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"[*`]+|(?<!\w)_+|_+(?!\w)")
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}")

LONGEST_TITLE = 300
"""Characters of a heading that are told."""


class Heading(NamedTuple):
    """A heading.

    Attributes:
        first, last: where it begins in the text, and where its last line ends.
        level: 1 for the highest.
        title: its words.
    """

    first: int
    last: int
    level: int
    title: str


def sections_of(text: str, headings: list[Heading]) -> tuple[Section, ...]:
    """A section for each heading with the text below it, up to the next one.

    A heading without a text of its own stands at the beginning of the section that follows.
    """
    if not headings:
        return ()
    sections: list[Section] = []
    if text[: headings[0].first].strip():
        sections.append(Section(0, headings[0].first, {}))
    above: list[Heading] = []
    begin: int | None = None
    ends = [*(heading.first for heading in headings[1:]), len(text)]
    for heading, end in zip(headings, ends, strict=True):
        above = [*(other for other in above if other.level < heading.level), heading]
        begin = heading.first if begin is None else begin
        if text[heading.last : end].strip() or end == len(text):
            path = " > ".join(other.title for other in above if other.title)
            sections.append(Section(begin, end, {"headings": path} if path else {}))
            begin = None
    return tuple(sections)


def markdown_headings(text: str) -> list[Heading]:
    """Headings of Markdown: ``# Title`` and underlined ones, not in code, comments, nor front matter."""
    headings: list[Heading] = []
    fence = raw_end = ""
    paragraph: int | None = None  # where the paragraph begins that an underline would make a heading
    other = False  # within a list, a quotation or a table, up to the next empty line
    lines = list(_lines(text))
    for first, line in lines[_front_matter([line for _, line in lines]) :]:
        if fence or raw_end:
            fence = "" if fence and _closes(line, fence) else fence
            raw_end = "" if raw_end and raw_end in line.lower() else raw_end
        elif (fence := _fence(line)) or (raw_end := _raw_end(line)) or not line.strip():
            paragraph, other = None, False
        elif (atx := _atx(line)) is not None:
            headings.append(Heading(first, first + len(line), *atx))
            paragraph, other = None, False
        elif paragraph is not None and (found := _UNDERLINE.fullmatch(line)):
            level = 1 if found[1][0] == "=" else 2
            headings.append(Heading(paragraph, first + len(line), level, _words(text[paragraph:first])))
            paragraph = None
        elif paragraph is None and not other:
            other = _NO_PARAGRAPH.match(line) is not None
            paragraph = None if other else first
    return headings


def _fence(line: str) -> str:
    """The marks that open a block of code, if a line does."""
    found = _FENCE.fullmatch(line)
    return found[1] if found and not (found[1][0] == "`" and "`" in found[2]) else ""


def _closes(line: str, fence: str) -> bool:
    """Whether a line closes a block of code."""
    closing = line.strip()
    return len(closing) >= len(fence) and set(closing) == {fence[0]} and not line.startswith("    ")


def rst_headings(text: str) -> list[Heading]:
    """Headings of reStructuredText: titles underlined, or between two lines; styles rank as they come."""
    headings: list[Heading] = []
    styles: list[tuple[str, bool]] = []
    lines = list(_lines(text))
    for number in range(1, len(lines)):
        first, title = lines[number - 1]
        at, under = lines[number]
        under, words = under.rstrip(), title.strip()
        if not words or _ADORNMENT.fullmatch(words) or not _ADORNMENT.fullmatch(under) or len(under) < len(words):
            continue
        over = number > 1 and lines[number - 2][1].rstrip() == under
        before = lines[number - 2][1].strip() if number > 1 else ""
        if not over and (before or title[0].isspace()):
            continue
        style = (under[0], over)
        if style not in styles:
            styles.append(style)
        begin = lines[number - 2][0] if over else first
        headings.append(Heading(begin, at + len(under), styles.index(style) + 1, words))
    return headings


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without their ends, each with the place where it begins."""
    place = 0
    for line in text.split("\n"):
        yield place, line.removesuffix("\r")
        place += len(line) + 1


def _front_matter(lines: list[str]) -> int:
    """How many lines front matter takes: what stands between ``---`` and ``---`` (``+++``) at the very beginning."""
    if lines and lines[0].lstrip("\ufeff").rstrip() in ("---", "+++"):
        mark = lines[0].lstrip("\ufeff").rstrip()
        for number, line in enumerate(lines[1:], start=1):
            if line.rstrip() in (mark, "..." if mark == "---" else mark):
                return number + 1
    return 0


def _raw_end(line: str) -> str:
    """What ends the HTML that a line opens and does not close."""
    lowered = line.strip().lower() if "<" in line else ""
    for begin, end in _RAW:
        if lowered.startswith(begin) and end not in lowered:
            return end
    return ""


def _atx(line: str) -> tuple[int, str] | None:
    """Level and words of a heading such as ``## Words ##``; no regular expression: long lines take no longer."""
    stripped = line.lstrip(" ")
    rest = stripped.lstrip("#")
    level = len(stripped) - len(rest)
    if len(line) - len(stripped) > 3 or not 1 <= level <= 6 or (rest and rest[0] not in " \t"):
        return None
    title = rest.strip(" \t")
    open_ended = title.rstrip("#")
    if not open_ended or open_ended[-1] in " \t":
        title = open_ended
    return level, _words(title)


def _words(title: str) -> str:
    """The words of a heading without marks of emphasis and links."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", title[:LONGEST_TITLE])).split())
