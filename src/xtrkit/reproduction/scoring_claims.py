"""What documents score: Tables 1 and 5, Figures 5, 6 and 7 of the XTR paper (Lee et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xtrkit.evaluating import measure
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.measures import of_each_query
from xtrkit.recipes import Recipe
from xtrkit.reproduction.laboratory import LABELS, OBJECTIVES, Laboratory, Objective
from xtrkit.reproduction.outcome import Cell, Outcome, Plot, Table, Verdict
from xtrkit.reproduction.significance import Values, compared
from xtrkit.reproduction.tokens import TokenView
from xtrkit.scoring.cost import colbert_flops, gathered_bytes, xtr_flops

IMPUTATIONS = ("none", "0", "0.2", "min")
K_PRIMES = (10, 40, 100, 400, 1000, 4000)
K_TRAINS = (8, 32, 128)
BATCH_SIZES = (16, 32, 64)


def table_1(laboratory: Laboratory) -> Outcome:
    """Operations of scoring: the closed forms at the paper's numbers, and counted in a real search."""
    n, k_prime, dim, length, retrieved = 16, 100, 128, 55.0, 2.5
    paper = colbert_flops(n, k_prime, length, dim), xtr_flops(n, k_prime, retrieved)
    rows: list[list[Cell]] = [["the paper's numbers", *_in_millions(*paper), paper[0] / paper[1]]]
    test = laboratory.tests[0]
    with laboratory.retriever(laboratory.model("xtr"), test) as retriever:
        embeddings = laboratory.embeddings(retriever, test)
        sizes, dim = np.diff(retriever.index.document_offsets), embeddings.dim
        counts = []
        for _, hits in TokenView(retriever, test, embeddings).hits(k_prime):
            candidates, tokens = np.unique(hits.documents), hits.n_query_tokens
            every = float((tokens * (sizes[candidates] * (2 * dim + 1) + 1)).sum())  # products, maxima, one sum
            counts.append((every, len(hits.rows) + tokens * len(candidates), len(candidates) / (tokens * k_prime)))
    counted = np.mean(counts, axis=0)
    ratio = counted[0] / counted[1]
    rows.append([f"counted on {test.path.name}", *_in_millions(counted[0], counted[1]), ratio])
    traffic = gathered_bytes(n, 1000, length, 128) / 1e6
    return Outcome(
        tables=[Table("", ["", "ColBERT, million operations", "XTR, million operations", "ratio"], rows)],
        verdicts=[
            Verdict("scoring costs ColBERT 0.36 · 10⁹ operations, XTR 0.09 · 10⁶", _near(paper[0], 361.9e6)
                    and _near(paper[1], 89.6e3), f"{paper[0] / 1e6:.1f} · 10⁶, {paper[1] / 1e6:.4f} · 10⁶"),
            Verdict("ColBERT gathers 450 MB a query at k′ = 1,000", _near(traffic, 450.6), f"{traffic:.1f} MB"),
            Verdict("XTR's scoring is thousands of times cheaper", bool(ratio >= 1000),
                    f"counted in a real search: {ratio:,.0f} times, {counted[2]:.2f} n k′ candidates"),
        ],
        figures={"paper's ratio": paper[0] / paper[1], "counted ratio": ratio},
    )  # fmt: skip


def table_5(laboratory: Laboratory) -> Outcome:
    """Imputation × objective: nDCG@10 and R@100 of both objectives with every way of imputing."""
    systems = [(name, Recipe(k_prime=laboratory.setting.k_prime, imputation=name)) for name in IMPUTATIONS]
    systems.append(("MaxSim", Recipe(scoring="maxsim")))
    names = [name for name, _ in systems]
    tables: list[Table] = []
    verdicts: list[Verdict] = []
    figures: dict[str, float] = {}
    for test in laboratory.tests:
        found = {
            objective: _of_all_seeds(laboratory, objective, test, systems) for objective in OBJECTIVES
        }  # (seeds, systems, measures, queries)
        means = {objective: values.mean(axis=(0, 3)) for objective, values in found.items()}
        spread = {objective: values.mean(axis=3).std(axis=0) for objective, values in found.items()}
        rows: list[list[Cell]] = [
            [
                LABELS[o],
                *(f"{means[o][i, 0]:.4f} ± {spread[o][i, 0]:.4f} · {means[o][i, 1]:.4f}" for i in range(len(names))),
            ]
            for o in OBJECTIVES
        ]
        head = ["", *(f"m = {name}" for name in IMPUTATIONS), "MaxSim instead"]
        tables.append(Table(f"{test.path.name}, nDCG@10 ± deviation of seeds · R@100", head, rows))
        for objective in OBJECTIVES:
            values = found[objective].mean(axis=0)[:, 0]  # (systems, queries)
            for low, high in zip(range(3), range(1, 4), strict=True):
                verdicts.append(compared(f"{test.path.name}, {LABELS[objective]}: {names[low]} < {names[high]}",
                                         values[low], values[high]))  # fmt: skip
        both = [found[objective].mean(axis=0)[:, 0] for objective in OBJECTIVES]
        for i, name in enumerate(IMPUTATIONS):
            verdicts.append(compared(f"{test.path.name}, XTR's scoring with m = {name}: trained as ColBERT < as XTR",
                                     both[0][i], both[1][i]))  # fmt: skip
        for objective in OBJECTIVES:
            figures |= {f"{test.path.name} {objective} {n}": means[objective][i, 0] for i, n in enumerate(names)}
    return Outcome(tables, verdicts, figures)


def figure_5(laboratory: Laboratory) -> Outcome:
    """R@100 and nDCG@10 at growing k' (with Table D.2)."""
    systems = [(f"{k}", Recipe(k_prime=k)) for k in K_PRIMES]
    tables: list[Table] = []
    verdicts: list[Verdict] = []
    figures: dict[str, float] = {}
    plots: list[Plot] = []
    for test in laboratory.tests:
        recall, gain = {}, {}
        for objective in OBJECTIVES:
            values = _of_all_seeds(laboratory, objective, test, systems).mean(axis=(0, 3))
            gain[objective], recall[objective] = values[:, 0], values[:, 1]
        rows: list[list[Cell]] = [[f"{LABELS[o]}, {name}", *map(float, values[o])]
                for name, values in (("R@100", recall), ("nDCG@10", gain)) for o in OBJECTIVES]  # fmt: skip
        tables.append(Table(test.path.name, ["k′", *map(str, K_PRIMES)], rows))
        gaps = recall["xtr"] - recall["colbert"]
        rises = bool((np.diff(recall["xtr"]) > -0.005).all())
        verdicts += [
            Verdict(f"{test.path.name}: R@100 rises with k′", rises, " → ".join(f"{v:.3f}" for v in recall["xtr"])),
            Verdict(f"{test.path.name}: at small k′ training as XTR gives more", bool(gaps[0] > 0),
                    f"{gaps[0]:+.4f} at k′ = 10"),
            Verdict(f"{test.path.name}: and the gap closes as k′ grows", bool(abs(gaps[-1]) < abs(gaps[0])),
                    f"{gaps[-1]:+.4f} at k′ = 4,000"),
        ]  # fmt: skip
        figures |= {
            f"{test.path.name} {o} {k}": float(recall[o][i]) for o in OBJECTIVES for i, k in enumerate(K_PRIMES)
        }
        plots.append(
            Plot(
                test.path.name, "k′", "R@100", {LABELS[o]: (K_PRIMES, list(recall[o])) for o in OBJECTIVES}, log_x=True
            )
        )
    return Outcome(tables, verdicts, figures, plots)


def figure_6(laboratory: Laboratory) -> Outcome:
    """MRR@10 of models trained with several k_train, searched with several k'."""
    test, systems = laboratory.tests[0], [(f"{k}", Recipe(k_prime=k)) for k in K_PRIMES]
    each = {k: _measured(laboratory, laboratory.model("xtr", k_train=k), test, systems, ("RR@10",))[:, 0]
            for k in K_TRAINS}  # fmt: skip
    found = {f"k_train {k}": values.mean(axis=1) for k, values in each.items()}
    rows: list[list[Cell]] = [[name, *map(float, values)] for name, values in found.items()]
    small, large = each[K_TRAINS[0]], each[K_TRAINS[-1]]  # (k', queries)
    return Outcome(
        tables=[Table(f"RR@10, {test.path.name}", ["k′", *map(str, K_PRIMES)], rows)],
        verdicts=[
            compared(f"k′ = {K_PRIMES[0]}: k_train {K_TRAINS[-1]} < {K_TRAINS[0]}", large[0], small[0]),
            compared(f"k′ = {K_PRIMES[-1]:,}: k_train {K_TRAINS[0]} < {K_TRAINS[-1]}", small[-1], large[-1]),
        ],
        figures={f"{name} k' {k}": float(values[i]) for name, values in found.items() for i, k in enumerate(K_PRIMES)},
        plots=[Plot(test.path.name, "k′", "RR@10", {n: (K_PRIMES, list(v)) for n, v in found.items()}, log_x=True)],
    )  # fmt: skip


def figure_7(laboratory: Laboratory) -> Outcome:
    """nDCG@10 of models trained with several batch sizes and k_train, each on the same data."""
    test, systems = laboratory.tests[0], [("XTR", Recipe(k_prime=4000))]
    each = np.array([
        [_measured(laboratory, laboratory.model("xtr", k_train=k, batch_size=b), test, systems)[0, 0] for k in K_TRAINS]
        for b in BATCH_SIZES
    ])  # fmt: skip
    found, by_size = each.mean(axis=2), each.mean(axis=1)  # over queries, over k_train
    rows: list[list[Cell]] = [
        [f"batch {size}", *map(float, values)] for size, values in zip(BATCH_SIZES, found, strict=True)
    ]
    lines = {f"batch {size}": (K_TRAINS, list(values)) for size, values in zip(BATCH_SIZES, found, strict=True)}
    return Outcome(
        tables=[Table(f"nDCG@10 at k′ = 4,000, {test.path.name}", ["k_train", *map(str, K_TRAINS)], rows)],
        verdicts=[compared(f"batches of {BATCH_SIZES[0]} < of {BATCH_SIZES[-1]}, mean over k_train",
                           by_size[0], by_size[-1])],
        figures={f"batch {b} k_train {k}": float(value) for b, values in zip(BATCH_SIZES, found, strict=True)
                 for k, value in zip(K_TRAINS, values, strict=True)},
        plots=[Plot(test.path.name, "k_train", "nDCG@10", lines, log_x=True)],
    )  # fmt: skip


def _of_all_seeds(
    laboratory: Laboratory, objective: Objective, test: TestCollection, systems: Sequence[tuple[str, Recipe]]
) -> Values:
    """(seeds, systems, 2, queries) nDCG@10 and R@100."""
    seeds = laboratory.setting.seeds
    return np.stack([_measured(laboratory, laboratory.model(objective, seed), test, systems) for seed in seeds])


def _measured(
    laboratory: Laboratory,
    model: Path,
    test: TestCollection,
    systems: Sequence[tuple[str, Recipe]],
    measures: Sequence[str] = ("nDCG@10", "R@100"),
) -> Values:
    """(systems, measures, queries) of one model."""
    with laboratory.retriever(model, test) as retriever:
        embeddings = laboratory.embeddings(retriever, test)
        rows = measure(retriever, test, systems, measures, embeddings=embeddings, advance=lambda amount: None)
        each = [of_each_query(row.run, test.qrels, measures) for row in rows]
    return np.array([[[values[query] for query in test.qrels] for values in one.values()] for one in each])


def _in_millions(*values: float) -> list[float]:
    return [value / 1e6 for value in values]


def _near(value: float, expected: float) -> bool:
    return abs(value / expected - 1) < 0.001
