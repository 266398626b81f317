"""Why passages were found, as HTML: one self-contained file, or what a notebook shows of a hit.

A file has no script and loads nothing: chips of query tokens are links to what they matched, and its policy (CSP)
allows its own style alone. It looks as the served page does, whose style it shares (``explained.css``). Whatever comes
from a passage, an id, metadata or a query is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xtrkit.encoding.base import Token
from xtrkit.errors import InputError
from xtrkit.explain import Match
from xtrkit.whole_file import check_target, write_whole

if TYPE_CHECKING:
    from xtrkit.hits import Hit, Hits

NEAR = 1e-3
"""How far a score may be from the mean of its similarities, which compressed indexes round."""

SHOWN = 10
"""Hits that a notebook shows of an answer."""


class Account(NamedTuple):
    """How a score comes from the similarities of its query tokens.

    Attributes:
        shares: what part of their sum each query token has; 0 where nothing is known of it.
        how: "mean" or "sum"; None where the score was made after the retrieval, by a reranker or by fusion.
        known: how many similarities there are.
        missing: for how many query tokens nothing of the passage was retrieved.
    """

    shares: tuple[float, ...]
    how: str | None
    known: int
    missing: int


def account_of(score: float, matches: Sequence[Match]) -> Account:
    """How a hit's score comes from its matches."""
    similarities = [match.similarity for match in matches]
    known = [similarity for similarity in similarities if similarity is not None]
    total, tolerance = sum(known), NEAR * max(1.0, abs(score))
    how = None
    if known and abs(total / len(known) - score) <= tolerance:
        how = "mean"
    elif known and abs(total - score) <= tolerance:
        how = "sum"
    shares = tuple((similarity or 0.0) / total if total else 0.0 for similarity in similarities)
    return Account(shares, how, len(known), sum(match.imputed for match in matches))


def write_explained(path: str | Path, answer: Hits, hits: Sequence[Hit] | None = None) -> Path:
    """Write an answer, explained, as one HTML file; one that is there already is replaced.

    Args:
        path: the file.
        answer: what was found; searched with ``explain=True``, or there is nothing to explain.
        hits: which of its hits; all by default.

    Returns:
        The file.

    Raises:
        InputError: no file can be written there.
    """
    target = check_target(path, "the HTML file")
    try:
        write_whole(target, explained_page(answer, hits))
    except OSError as error:
        raise InputError(f"{target} can't be written: {error.strerror}. Write the HTML file elsewhere.") from error
    return target


def explained_page(answer: Hits, hits: Sequence[Hit] | None = None) -> str:
    """An answer, explained, as the text of one HTML file."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    shown = answer.hits if hits is None else hits
    articles = "\n".join(
        f"<article>{_line(hit, 'h2')}{_about(hit)}{_why(hit, answer.query)}</article>" for hit in shown
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(answer.query)} – xtrkit</title>
<style>{style}</style>
</head>
<body class="xtrkit sheet">
<main>
<h1 dir="auto">{escape(answer.query)}</h1>
<p class="note">{escape(_told(answer, len(shown)))}</p>
{articles}
</main>
</body>
</html>
"""


def hit_output(hit: Hit) -> str:
    """A hit as a notebook shows it."""
    return _output(_line(hit, "div") + _about(hit) + _why(hit, None, linked=False))


def hits_output(answer: Hits) -> str:
    """An answer as a notebook shows it: its first hits, each with why it was found folded away."""
    rows = "".join(
        f"<details><summary>{_line(hit, 'div')}{_snippet(hit)}</summary>{_about(hit)}"
        f"{_why(hit, answer.query, linked=False)}</details>"
        for hit in answer[:SHOWN]
    )
    more = f'<p class="note">{len(answer) - SHOWN:,} more.</p>' if len(answer) > SHOWN else ""
    head = f'<div dir="auto"><strong>{escape(answer.query)}</strong></div>'
    return _output(f'{head}<p class="note">{escape(_told(answer, len(answer)))}</p>{rows}{more}')


def _output(content: str) -> str:
    return f'<div class="xtrkit output"><style>{_style()}</style>{content}</div>'


@cache
def _style() -> str:
    """The style, without comments and indentation."""
    text = (files("xtrkit") / "explained.css").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)).strip()


def _told(answer: Hits, shown: int) -> str:
    """What is to be told of the search, in sentences."""
    said = [f"{shown:,} passage{'' if shown == 1 else 's'}." if shown else "Nothing was found."]
    if answer.truncated:
        said.append("The query is longer than the model's window: its end was not searched for.")
    if answer.unknown:
        said.append(f"{answer.unknown} of {answer.pieces} pieces of the query are unknown to the model.")
    return " ".join(said)


def _line(hit: Hit, tag: str) -> str:
    return (
        f'<{tag} class="line"><span class="rank">{hit.rank}</span><bdi class="id">{escape(hit.id)}</bdi>'
        f'<span class="score"><span class="unseen">score </span>{hit.score:.4f}</span></{tag}>'
    )


def _about(hit: Hit) -> str:
    """Where a passage comes from, and its metadata."""
    items = []
    if hit.part is not None:
        items.append(f"in <bdi>{escape(hit.part.document)}</bdi>, characters {hit.part.first:,}–{hit.part.last:,}")
    for name, value in hit.metadata.items():
        written = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        items.append(f"{escape(name)}: <bdi>{escape(written)}</bdi>")
    return f'<ul class="about">{"".join(f"<li>{item}</li>" for item in items)}</ul>' if items else ""


def _snippet(hit: Hit) -> str:
    cut = hit.snippet()
    if cut is None:
        return ""
    shift = cut.first - (1 if cut.first else 0)  # … stands before what was cut
    strong = [span for span, weak in _spans(hit.matches or ()).items() if not weak]
    spans = {
        (begin, end): not any(begin + shift <= first and last <= end + shift for first, last in strong)
        for begin, end in cut.matched
    }
    return f'<div class="snippet" dir="auto">{_marked(cut.text, spans)}</div>'


def _spans(matches: Sequence[Match]) -> dict[tuple[int, int], bool]:
    """{(begin, end): whether it is of the weaker half} of document tokens that stand for characters."""
    best: dict[tuple[int, int], float] = {}
    for match in matches:
        token = match.document_token
        if token is not None and token.start < token.end:
            span = token.start, token.end
            best[span] = max(best.get(span, float("-inf")), match.similarity or 0.0)
    middle = (min(best.values()) + max(best.values())) / 2 if best else 0.0
    return {span: similarity < middle for span, similarity in best.items()}


def _marked(text: str, spans: Mapping[tuple[int, int], bool], prefix: str | None = None) -> str:
    """A text with marks; with a prefix each has an id of it and the place in the text where the mark begins."""
    inside = {span: weak for span, weak in spans.items() if 0 <= span[0] < span[1] <= len(text)}
    cuts = sorted({0, len(text), *(place for span in inside for place in span)})
    return "".join(_piece(text, first, last, inside, prefix) for first, last in pairwise(cuts))


def _piece(text: str, first: int, last: int, spans: Mapping[tuple[int, int], bool], prefix: str | None) -> str:
    over = [weak for (begin, end), weak in spans.items() if begin <= first and last <= end]
    piece = escape(text[first:last])
    if not over:
        return piece
    identity = "" if prefix is None else f' id="{prefix}{first}"'
    kind = ' class="weak"' if all(over) else ""
    return f"<mark{identity}{kind}>{piece}</mark>"


def _why(hit: Hit, query: str | None, *, linked: bool = True) -> str:
    """The passage with what matched in it, and each query token's part in the score."""
    if hit.text is None and hit.matches is None:
        return '<p class="note">The index has no texts.</p>'
    prefix = f"h{hit.rank}c" if linked else None
    passage = (
        ""
        if hit.text is None
        else f'<div class="passage" dir="auto" tabindex="0" role="region" aria-label="Passage {hit.rank}">'
        f"{_marked(hit.text, _spans(hit.matches or ()), prefix)}</div>"
    )
    if not hit.matches:
        return passage
    return passage + _account_sentence(hit) + "".join(_chips(hit, hit.matches, query, prefix))


def _account_sentence(hit: Hit) -> str:
    """How the score comes from the similarities, in sentences."""
    fused, scores = "", hit.scores
    score = hit.score if scores is None or scores.tokens is None else scores.tokens
    account = account_of(score, hit.matches or ())
    parts = f"{account.known} similarit{'y' if account.known == 1 else 'ies'}"
    if account.missing:
        left_out = account.known < len(hit.matches or ())
        parts += f", {account.missing} {'left out' if left_out else 'imputed'}"
    if scores is not None:
        tokens, words = ("not found" if one is None else f"{one:.4f}" for one in scores)
        fused = f"The score <strong>{hit.score:.4f}</strong> is fused of token vectors ({tokens}) and words ({words}). "
    name = "The score" if scores is None else "That of token vectors"
    if account.how is not None:
        said = f"{name} <strong>{score:.4f}</strong> is the {account.how} of {parts}."
    elif scores is not None:
        said = f"Shares are of {parts}."
    else:
        said = (
            f"{name} <strong>{score:.4f}</strong> was made after the retrieval. Shares are of the retrieval's {parts}."
        )
    return f'<p class="account">{fused}{said} Dotted marks are the weaker ones.</p>'


def _chips(hit: Hit, matches: Sequence[Match], query: str | None, prefix: str | None) -> Iterator[str]:
    """A list of chips; those of tokens that stand for no characters are folded away below it."""
    shares = account_of(hit.score, matches).shares
    widest = max(*shares, 1e-9)
    own: list[str] = []
    special: list[int] = []
    chips = [
        f"<li>{_chip(hit, match, query, prefix, (share, share / widest))}</li>"
        for match, share in zip(matches, shares, strict=True)
    ]
    for place, match in enumerate(matches):
        if match.query_token.start == match.query_token.end:
            special.append(place)
        else:
            own.append(chips[place])
    yield f'<ul class="tokens">{"".join(own)}</ul>'
    if special:
        names = ", ".join(dict.fromkeys(matches[place].query_token.piece for place in special))
        weight = sum(shares[place] for place in special)
        yield (
            f'<details><summary class="note">{len(special)} marker{"" if len(special) == 1 else "s"} of the model '
            f"({escape(names)}), {100 * weight:.1f} % of the score</summary>"
            f'<ul class="tokens">{"".join(chips[place] for place in special)}</ul></details>'
        )


def _chip(hit: Hit, match: Match, query: str | None, prefix: str | None, width: tuple[float, float]) -> str:
    """A query token: what it matched, how well, and its share as a number and a bar."""
    found, similarity = match.document_token, match.similarity
    if found is None:
        what, state = '<span class="nothing">nothing retrieved</span>', "imputed"
    else:
        what, state = f"<bdi>{escape(_cut(hit.text, found))}</bdi>", "retrieved"
    figure = "left out" if similarity is None else f"{similarity:.3f} {state}"
    kind = "token imputed" if found is None else "token"
    linked = prefix is not None and hit.text is not None and found is not None and found.start < found.end
    tag, target = ("a", f' href="#{prefix}{found.start}"') if linked and found else ("span", "")
    share, bar = width
    return (
        f'<{tag} class="{kind}"{target}><span class="pair"><bdi class="asked">{escape(_cut(query, match.query_token))}'
        f'</bdi><span class="arrow"> → </span>{what}</span>'
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" width="100" height="6"/><rect class="fill" width="{100 * max(0.0, bar):.1f}" height="6"/>'
        f'</svg><span class="share">{100 * share:.1f} %</span><span class="figure">{figure}</span></{tag}>'
    )


def _cut(text: str | None, token: Token) -> str:
    """The characters that a token was made from; its piece where there are none."""
    return token.piece if text is None else text[token.start : token.end] or token.piece
