"""HTML as text with nothing left out: blocks on lines of their own, and where the headings are."""

from __future__ import annotations

from html.parser import HTMLParser

from xtrkit.texts.files.headings import LONGEST_TITLE, Heading

HEADINGS = {f"h{level}": level for level in range(1, 7)}
UNSEEN = frozenset({"script", "style", "title", "template"})
INLINE = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "cite",
        "code",
        "data",
        "dfn",
        "em",
        "font",
        "i",
        "img",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    ]
)
CELLS = frozenset({"td", "th"})


class _Blocks(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.headings: list[Heading] = []
        self._length = self._unseen = self._pre = self._breaks = self._cells = 0
        self._in_cell = False
        self._level = 0  # of the heading that is open
        self._opened: tuple[int, int] | None = None  # its first part, and where that begins

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNSEEN:
            self._unseen += 1
        elif tag == "br":
            self._break(1)
        elif tag in CELLS:
            self._cells, self._in_cell = self._cells + 1, True
            if self._cells > 1:
                self._put("| " if self.parts and self.parts[-1].endswith(" ") else " | ")
        elif tag not in INLINE:
            self._end_block(tag)
            self._pre += tag == "pre"
            if tag == "li":
                self._put("- ")
        if tag in HEADINGS and not self._level:
            self._level, self._opened = HEADINGS[tag], None

    def handle_endtag(self, tag: str) -> None:
        if tag in UNSEEN:
            self._unseen = max(0, self._unseen - 1)
        elif tag in HEADINGS:
            self._end_heading()
        if tag in CELLS:
            self._in_cell = False
        elif tag not in INLINE and tag != "br":
            self._pre = max(0, self._pre - (tag == "pre"))
            self._end_block(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        if not self._pre:
            words = " ".join(data.split())
            if not words:
                words = " " if data else ""
            else:
                words = (" " if data[0].isspace() else "") + words + (" " if data[-1].isspace() else "")
            data = words
            ended = not self.parts or self._breaks or self.parts[-1].endswith((" ", "\n"))
            data = data.lstrip() if ended else data
        if data:
            self._put(data)

    def _put(self, text: str) -> None:
        if self._breaks and self.parts:
            ended = self.parts[-1].rstrip(" ")
            self._length += len(ended) - len(self.parts[-1]) + self._breaks
            self.parts[-1] = ended
            self.parts.append("\n" * self._breaks)
        self._breaks = 0
        if self._level and self._opened is None:
            self._opened = len(self.parts), self._length
        self.parts.append(text)
        self._length += len(text)

    def _end_block(self, tag: str) -> None:
        """Begin a new line, or within a row of a table, a new word."""
        if tag in ("tr", "table"):
            self._cells, self._in_cell = 0, False
        if not self._in_cell:
            self._break(1 if tag in ("li", "tr", "dt", "dd") or self._cells else 2)
        elif self.parts and not self._breaks and not self.parts[-1].endswith((" ", "\n")):
            self._put(" ")

    def _break(self, lines: int) -> None:
        self._breaks = max(self._breaks, lines) if self.parts else 0

    def _end_heading(self) -> None:
        if self._level and self._opened is not None:
            part, first = self._opened
            title = "".join(self.parts[part:]).rstrip()
            told = " ".join(title.split())[:LONGEST_TITLE]
            self.headings.append(Heading(first, first + len(title), self._level, told))
        self._level, self._opened = 0, None


def text_of(html: str) -> tuple[str, list[Heading]]:
    """All that can be read of HTML, and its headings."""
    parser = _Blocks()
    parser.feed(html)
    parser.close()
    return "".join(parser.parts).rstrip(), parser.headings
