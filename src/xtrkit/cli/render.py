"""What the commands show: results, explanations, tables; and the same as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xtrkit.recipes import NPROBE

if TYPE_CHECKING:  # the commands import what they run when they run it, so that --help is quick
    from xtrkit.encoding.base import Token
    from xtrkit.explain import Match
    from xtrkit.hits import FacetCount, Hit, Hits, Snippet
    from xtrkit.indexing.index_checking import Report
    from xtrkit.texts.document import ReadingReport

SNIPPET = 220
"""Characters shown of a passage."""


def print_hits(console: Console, query: str, hits: Sequence[Hit], told: Hits, explained: int | None = None) -> None:
    """Print hits; those that carry matches are explained, the first ``explained`` of them where that is given.

    Args:
        console: where to.
        query: what was asked.
        hits: the hits that are shown.
        told: the answer that they are of, with what else is to be told of the search.
        explained: how many are explained.
    """
    console.print(Text(f"\n{on_one_line(query)}", style="bold cyan"))
    if told.truncated:
        console.print(
            Text("     The query is longer than the model's window: its end was not searched for.", style="yellow")
        )
    if told.unknown:
        console.print(
            Text(
                f"     {told.unknown} of {told.pieces} pieces of the query are unknown to the model: they look alike "
                "to it, whatever they are.",
                style="yellow",
            )
        )
    for hit in hits:
        line = Text.assemble((f"{hit.rank:>3}. ", "bold"), (on_one_line(hit.id), "bold green"), f"  {hit.score:.4f}")
        if hit.scores is not None:
            of_each = (
                f"{name} {'–' if score is None else f'{score:.4f}'}" for name, score in hit.scores._asdict().items()
            )
            line.append(f"  ({', '.join(of_each)})", "dim")
        if hit.part is not None:
            line.append(
                f"  in {on_one_line(hit.part.document)}, characters {hit.part.first:,}–{hit.part.last:,}", "dim"
            )
        console.print(line)
        if (snippet := hit.snippet(SNIPPET)) is not None:
            console.print(_marked(snippet))
        if hit.metadata:
            fields = ", ".join(f"{name}: {value}" for name, value in hit.metadata.items())
            console.print(Text("     " + beginning(fields, SNIPPET), style="dim italic"))
        if explained is None or hit.rank - hits[0].rank < explained:
            print_matches(console, hit)


def print_facets(console: Console, facets: Mapping[str, Sequence[FacetCount]]) -> None:
    """Print how many of the hits have each value of some fields, one field a line."""
    for field, counts in facets.items():
        values = ", ".join(f"{on_one_line(str(one.value))} ({one.count})" for one in counts) or "no value"
        console.print(Text.assemble("     ", (f"{on_one_line(field)}: ", "bold"), beginning(values, 5 * SNIPPET)))


def print_report(console: Console, report: ReadingReport) -> None:
    """Print what was read of a collection, what was passed over, and why."""
    for sentence in report.sentences():
        console.print(Text(sentence, style="dim"))


def print_facts(console: Console, facts: dict[str, Any]) -> None:
    """Print facts about an index, one a line."""
    encoder = facts["encoder"]
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        if name == "encoder":
            shown = f"{encoder['name']} ({encoder['layout']}, {encoder['fingerprint'][:12]})" if encoder else "none"
        elif name == "encoded_by":
            shown = "; ".join(value) or "not known"
        elif name == "nprobe":
            name, shown = "clusters a query token", f"{value or NPROBE}"
        elif name == "pooling":
            shown = f"a vector for {value['factor']} tokens, the first {value['protected']} apart" if value else "none"
        else:
            shown = f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name, Text(shown))
    console.print(table)


def print_seconds(console: Console, seconds: Mapping[str, float]) -> None:
    """Print what each stage of a search took, and all together."""
    table = Table(box=None, show_header=False)
    for stage, taken in {**seconds, "together": sum(seconds.values())}.items():
        table.add_row(stage, Text(f"{1000 * taken:.2f} ms", justify="right"))
    console.print(table)


def report_text(report: Report) -> str:
    """What a verification found, for people."""
    where = f"{report.index}, generation {report.generation}"
    if report.ok:
        lines = [f"{where}: " + ("all is what was written." if report.full else "nothing wrong was found.")]
    else:
        lines = [f"{where}: {len(report.problems)} problem{'s' if len(report.problems) > 1 else ''}."]
    for problem in report.problems:
        ids = beginning(" ".join(problem.ids), SNIPPET)
        lines.append(f"  {problem.problem}" + (f"\n    Passages: {ids}" if ids else ""))
    if report.not_checked:
        lines.append(f"Not checked: {report.not_checked}")
    if report.repair:
        lines += ["What mends it:", *(f"  {command}" for command in report.repair)]
    elif not report.ok:
        lines.append("No repair fits: put a backup in its place, or build the index anew.")
    return "\n".join(lines)


def print_matches(console: Console, hit: Hit) -> None:
    """Print which tokens of a hit matched those of the query, if that is known."""
    if hit.matches is not None:
        console.print(_matches_table(hit.matches, hit.text or "", console))


def beginning(text: str, length: int) -> str:
    """The beginning of a text on one line."""
    line = on_one_line(text).strip()
    return line if len(line) <= length else line[: length - 1] + "…"


def on_one_line(text: str) -> str:
    """A text with every run of white space as one space, and without control characters, which terminals obey."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "", re.sub(r"\s+", " ", text))


def _marked(snippet: Snippet) -> Text:
    """A snippet on one line, what matched in bold."""
    shown, place = Text("     "), 0
    for begin, end in snippet.matched:
        shown.append(on_one_line(snippet.text[place:begin]), "dim")
        shown.append(on_one_line(snippet.text[max(place, begin) : end]), "bold")
        place = max(place, end)
    shown.append(on_one_line(snippet.text[place:]).rstrip(), "dim")
    return shown


def _matches_table(matches: Sequence[Match], text: str, console: Console) -> Table:
    """Table 6 and Figure 3 of the XTR paper: query token, similarity, matched document token in its context."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("    query token", no_wrap=True)
    table.add_column("similarity", justify="right", no_wrap=True)
    table.add_column("matched in the passage", no_wrap=True, overflow="ellipsis")
    widest = max(len("query token"), *(len(match.query_token.piece) for match in matches))
    room = console.width - (4 + widest + 2) - (len("similarity") + 2) - 2
    for match in matches:
        piece = Text("    " + match.query_token.piece)
        similarity = "–" if match.similarity is None else f"{match.similarity:.3f}"
        if match.document_token is None:
            note = "not retrieved: left out" if match.similarity is None else "not retrieved: imputed"
            table.add_row(piece, Text(similarity, style="yellow"), Text(note, style="yellow"))
        else:
            plain = console.color_system is None
            shared = f"  and {len(match.others)} more" if match.others else ""  # tokens of the same, pooled vector
            shown = _in_context(match.document_token, text, room - len(shared), plain)
            table.add_row(piece, Text(similarity), Text.assemble(shown, (shared, "dim")))
    return table


def _in_context(token: Token, text: str, room: int, plain: bool) -> Text:
    """The matched characters in as much of their text as there is room for, [marked] where there are no colours."""
    matched = on_one_line(text[token.start : token.end]) or token.piece
    mark = f"[{matched}]" if plain else matched
    if token.start == token.end:
        return Text(matched, style="bold magenta")  # [CLS] and the like stand for no characters
    around = max(5, (room - len(mark) - 2) // 2)
    first, last = max(0, token.start - around), token.end + around
    before, after = on_one_line(text[first : token.start]), on_one_line(text[token.end : last])
    return Text.assemble(
        (("…" if first else "") + before.lstrip(), "dim"),
        (mark, "bold magenta"),
        (after.rstrip() + ("…" if last < len(text) else ""), "dim"),
    )
