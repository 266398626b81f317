"""The figures to reach against the peers, from what a run measured.

python benchmarks/peers/goals.py benchmarks/results/DATE-peers-SET.json
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

BOTH = ("XTR@100", "MaxSim@100")
MAXSIM = ("MaxSim@10", "MaxSim@100")


class Goal(NamedTuple):
    """How often xtrkit should do what a peer does once.

    Attributes:
        peer: the engine.
        settings: those whose label begins so.
        mode: how the labels of xtrkit's settings begin that may be compared.
        recalls: what must be as high as the peer's.
        times: the least ratio of processor times, at the median.
        ours: xtrkit, at which numbers of bits.
    """

    peer: str
    settings: str
    mode: str
    recalls: tuple[str, ...]
    times: float
    ours: tuple[str, ...] = ("xtrkit",)


GOALS = (
    Goal("xtr-warp-rs", "", "XTR", BOTH, 15),
    Goal("tachiom", "default", "ColBERT", MAXSIM, 6),
    Goal("fast-plaid", "default", "ColBERT", MAXSIM, 100),
    Goal("lemur", "", "ColBERT", ("MaxSim@100",), 1),
    Goal("lemur", "", "ColBERT", MAXSIM, 1, ("xtrkit", "xtrkit:8")),
    Goal("lemur-untrained", "", "ColBERT", ("MaxSim@100",), 1),
    Goal("lemur-untrained", "", "ColBERT", MAXSIM, 1, ("xtrkit", "xtrkit:8")),
)
BUILDS = ("lemur", "lemur-untrained")
HEAD = ["against", "at its", "its ms p50, p95", "xtrkit's cheapest as good", "ms p50, p95", "×", "goal", "reached"]


def goals_met(rows, costs):
    """The cells of a table: each goal beside what was measured, rows of a search with one thread."""
    cells = []
    for goal in GOALS:
        for peer in rows:
            if peer["engine"] == goal.peer and peer["setting"].startswith(goal.settings):
                cells.append(search_cells(goal, peer, cheapest(goal, peer, rows)))
    for name in BUILDS:
        if name in costs and "xtrkit" in costs:
            theirs, ours = costs[name]["build_cpu_s"], costs["xtrkit"]["build_cpu_s"]
            cells.append([f"{name}, build", "–", f"{theirs:,.0f} s", "xtrkit", f"{ours:,.1f} s",
                          *verdict(theirs / ours, 1)])  # fmt: skip
    return cells


def cheapest(goal, peer, rows):
    """The fastest of xtrkit's settings that is as good as a peer's; None where none is."""
    as_good = [
        row for row in rows
        if row["engine"] in goal.ours and row["setting"].startswith(goal.mode)
        and all(row[recall] >= peer[recall] for recall in goal.recalls)
    ]  # fmt: skip
    return min(as_good, key=lambda row: row["CPU ms p50"], default=None)


def search_cells(goal, peer, ours):
    recalls = ", ".join(f"{recall} {peer[recall]:.3f}" for recall in goal.recalls)
    cells = [f"{goal.peer}, {peer['setting']}", recalls, milliseconds(peer)]
    if ours is None:
        return [*cells, "none", "–", "–", f"≥ {goal.times:g}", "no"]
    found = [f"{ours['engine']}, {ours['setting']}", milliseconds(ours)]
    return [*cells, *found, *verdict(peer["CPU ms p50"] / ours["CPU ms p50"], goal.times)]


def milliseconds(row):
    return f"{row['CPU ms p50']:,.2f}, {row['CPU ms p95']:,.2f}"


def verdict(times, goal):
    return [f"{times:,.1f}", f"≥ {goal:g}", "yes" if times >= goal else "no"]


def table(head, rows):
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def main():
    record = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(*table(HEAD, goals_met(record["searches"]["1"], record["engines"])), sep="\n")


if __name__ == "__main__":
    main()
