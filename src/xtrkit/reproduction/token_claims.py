"""What query tokens retrieve: Figures 2 and 4, footnote 2, Tables 6 and E of the XTR paper (Lee et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xtrkit.errors import InputError
from xtrkit.reproduction.laboratory import LABELS, OBJECTIVES, Laboratory, Objective
from xtrkit.reproduction.outcome import Cell, Outcome, Plot, Table, Verdict
from xtrkit.reproduction.significance import Values
from xtrkit.reproduction.tokens import Retrieved, TokenView, gold_and_lexical, tokens_per_candidate
from xtrkit.retriever import Retriever

RANKS = 100
SCORES = 4000


def figure_4(laboratory: Laboratory) -> Outcome:
    """At each rank, how often a retrieved token is of a relevant document, and how often the query token itself."""
    curves = {}
    for objective in OBJECTIVES:
        with laboratory.retriever(laboratory.model(objective), laboratory.tests[0]) as retriever:
            curves[objective] = gold_and_lexical(_view(laboratory, retriever), RANKS)
    ranks = list(range(1, RANKS + 1))
    shown = [1, 2, 5, 10, 20, 50, 100]
    parts = ("of a relevant document", "the query token's piece")
    rows: list[list[Cell]] = [[f"{LABELS[o]}, {part}", *(float(curves[o][i, r - 1]) for r in shown)]
            for i, part in enumerate(parts) for o in OBJECTIVES]  # fmt: skip
    gold, lexical = (np.mean(curves["xtr"][i] > curves["colbert"][i]) for i in range(2))
    return Outcome(
        tables=[Table(f"share of tokens at rank, {laboratory.tests[0].path.name}", ["", *map(str, shown)], rows)],
        verdicts=[
            Verdict("XTR retrieves more tokens of relevant documents", bool(gold > 0.5),
                    f"at {gold:.0%} of the ranks; at all together {_share(curves, 0)}"),
            Verdict("XTR retrieves fewer tokens equal to the query's", bool(lexical < 0.5),
                    f"at {1 - lexical:.0%} of the ranks; at all together {_share(curves, 1)}"),
        ],
        figures={f"{o} {part}": float(curves[o][i].mean()) for i, part in enumerate(parts) for o in OBJECTIVES},
        plots=[
            Plot(f"{part}", "rank", "share", {LABELS[o]: (ranks, list(curves[o][i])) for o in OBJECTIVES}, log_x=True)
            for i, part in enumerate(parts)
        ],
    )  # fmt: skip


def figure_2(laboratory: Laboratory) -> Outcome:
    """How the similarities of the 4,000 best tokens of each query token are spread."""
    edges = np.linspace(0, 1, 51)
    scores = {}
    for objective in OBJECTIVES:
        with laboratory.retriever(laboratory.model(objective), laboratory.tests[0]) as retriever:
            found = [hits.scores for _, hits in _view(laboratory, retriever).hits(SCORES)]
            scores[objective] = np.concatenate(found)
    quantiles = (0.5, 0.9, 0.99)
    rows: list[list[Cell]] = [
        [LABELS[o], float(scores[o].mean()), *map(float, np.quantile(scores[o], quantiles))] for o in OBJECTIVES
    ]
    density = {o: np.histogram(scores[o], edges, density=True)[0] for o in OBJECTIVES}
    means = {o: float(scores[o].mean()) for o in OBJECTIVES}
    middles = list((edges[:-1] + edges[1:]) / 2)
    return Outcome(
        tables=[Table(f"similarities, {laboratory.tests[0].path.name}", ["", "mean", "median", "90 %", "99 %"], rows)],
        verdicts=[Verdict("trained as ColBERT, many more tokens are very similar", means["colbert"] > means["xtr"],
                          f"mean {means['colbert']:.3f} and, trained as XTR, {means['xtr']:.3f}")],
        figures={f"{o} mean": means[o] for o in OBJECTIVES},
        plots=[Plot("the 4,000 best tokens", "similarity", "density",
                    {LABELS[o]: (middles, list(density[o])) for o in OBJECTIVES})],
    )  # fmt: skip


def footnote_2(laboratory: Laboratory) -> Outcome:
    """How many of a candidate's tokens are retrieved."""
    k_prime = laboratory.setting.k_prime
    rows: list[list[Cell]] = []
    rates: dict[str, float] = {}
    for objective in OBJECTIVES:
        with laboratory.retriever(laboratory.model(objective), laboratory.tests[0]) as retriever:
            found = tokens_per_candidate(_view(laboratory, retriever), k_prime)
        rates[objective] = found[0]
        rows.append([LABELS[objective], *found])
    head = ["", "tokens a candidate", "candidates a query", "tokens they have"]
    return Outcome(
        tables=[Table(f"{laboratory.tests[0].path.name}, k′ = {k_prime:,}", head, rows)],
        verdicts=[
            Verdict("XTR retrieves more tokens of each candidate", rates["xtr"] > rates["colbert"],
                    f"{rates['xtr']:.2f} and {rates['colbert']:.2f}; the paper has 1.48 for ColBERT"),
        ],
        figures=rates,
    )  # fmt: skip


def table_6(laboratory: Laboratory) -> Outcome:
    """The query token for which the two models' best 100 tokens differ most in being the same piece, in context."""
    test = laboratory.tests[0]
    shares: dict[Objective, dict[tuple[str, int], float]] = {}
    best: dict[Objective, dict[tuple[str, int], Retrieved]] = {}
    views: dict[Objective, TokenView] = {}
    for objective in OBJECTIVES:
        retriever = laboratory.retriever(laboratory.model(objective), test)
        view = views[objective] = _view(laboratory, retriever)
        shares[objective], best[objective] = {}, {}
        for found in view.retrieved(RANKS):
            if found.token.piece.isalpha() and len(found.token.piece) > 3:
                same = view.pieces[found.rows] == view.piece_number(found.token.piece)
                shares[objective][found.query, found.place] = float(same.mean())
                best[objective][found.query, found.place] = found
    if not shares["xtr"]:
        raise InputError(f"The queries of {test.path} have no token of four letters or more: there is nothing to show.")
    # Of tokens that are in the collection often enough to fill the list, where the choice is the model's.
    places = [place for place in shares["xtr"] if max(shares[o][place] for o in OBJECTIVES) >= 0.5] or list(
        shares["xtr"]
    )
    chosen = max(places, key=lambda place: abs(shares["colbert"][place] - shares["xtr"][place]))
    tables = []
    for objective in OBJECTIVES:
        found, view = best[objective][chosen], views[objective]
        marks = view.relevant(found.query)
        rows: list[list[Cell]] = [
            [f"{rank}", view.in_context(int(row)), "yes" if marks[document] else "no", float(score)]
            for rank, (row, document, score) in enumerate(
                zip(found.rows, found.documents, found.scores, strict=True), 1
            )
            if rank in (1, 2, 5, 50, 100)
        ]
        share = shares[objective][chosen]
        tables.append(Table(
            f"“{found.token.piece}” in “{test.queries[found.query]}”, {LABELS[objective]}: {share:.0%} of the best "
            f"{RANKS} tokens are the same piece", ["rank", "token in its context", "relevant", "similarity"], rows,
        ))  # fmt: skip
    means = {o: float(np.mean(list(shares[o].values()))) for o in OBJECTIVES}
    return Outcome(
        tables=tables,
        verdicts=[Verdict("XTR retrieves the query's own piece less often", means["xtr"] < means["colbert"],
                          f"{means['xtr']:.1%} and {means['colbert']:.1%} of the best {RANKS}, all queries")],
        figures={f"{o} same piece": means[o] for o in OBJECTIVES},
    )  # fmt: skip


def _view(laboratory: Laboratory, retriever: Retriever) -> TokenView:
    test = laboratory.tests[0]
    return TokenView(retriever, test, laboratory.embeddings(retriever, test))


def _share(curves: Mapping[Objective, Values], part: int) -> str:
    return f"{curves['xtr'][part].mean():.1%} and, trained as ColBERT, {curves['colbert'][part].mean():.1%}"
