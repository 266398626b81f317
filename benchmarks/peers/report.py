"""What a run measured, as tables and as JSON, in a file of its date."""

import json
import os
import platform
import statistics
from datetime import date
from pathlib import Path

from goals import HEAD, goals_met, table

RECALLS = [("XTR", 10), ("XTR", 100), ("MaxSim", 10), ("MaxSim", 100)]
OURS = "xtrkit"
RATIOS = {
    "XTR@100": ("XTR@100",),
    "XTR@100, MaxSim@100": ("XTR@100", "MaxSim@100"),
    "MaxSim@10, @100": ("MaxSim@10", "MaxSim@100"),
}
COSTS = {
    "build_cpu_s": "build, CPU s", "build_peak_mb": "peak, MB", "bytes_a_token": "bytes a token",
    "open_wall_ms": "open, ms", "open_cpu_ms": "CPU ms", "own_mb": "own memory, MB", "mapped_mb": "mapped, MB",
}  # fmt: skip


def write_report(data, arguments, engines, left_out, passes, oracle):
    """The lines of the report; also written to ``arguments.results`` as Markdown and JSON."""
    meta = data.meta()
    measured = {
        threads: [row(meta, oracle, engine, label, values) for (engine, label), values in results.items()]
        for threads, results in passes.items()
    }
    for rows in measured.values():
        compare(rows)
    exact = {
        name: ndcg(meta, arguments.numbers, rankings[arguments.numbers].tolist()) for name, rankings in oracle.items()
    }
    lengths = [len(data.queries[number]) for number in arguments.numbers]
    about = {
        "set": data.folder.name, "passages": len(data.lengths), "tokens": len(data.documents),
        "dimensions": data.documents.shape[1], "queries": len(lengths), "tokens a query": statistics.mean(lengths),
        "machine": machine(), "load average at the end": os.getloadavg()[0], "nDCG@10 exact": exact,
        "left out": left_out,
    }  # fmt: skip
    costs = {name: {key: value for key, value in engine.items() if key != "path"} for name, engine in engines.items()}
    lines = markdown(about, costs, measured)
    arguments.results.mkdir(exist_ok=True, parents=True)
    name = arguments.results / f"{date.today()}-peers-{arguments.name or data.folder.name}"
    name.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    record = {"about": about, "engines": costs, "searches": measured}
    name.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return lines


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    widest = next((flag for flag in ("avx512_vnni", "avx512f", "avx2") if flag in flags), "neither AVX2 nor AVX-512")
    name = names[0] if names else platform.processor()
    return f"{name} ({widest}), {os.cpu_count()} cores, Python {platform.python_version()}"


def row(meta, oracle, engine, label, values):
    found, numbers = values["found"], values["numbers"]
    recalls = {f"{name}@{depth}": overlap(found, oracle[name][numbers], depth) for name, depth in RECALLS}
    times = {
        f"{clock} ms {name}": value
        for clock, measured in (("CPU", values["cpu_ms"]), ("wall", values["wall_ms"]))
        for name, value in (("p50", statistics.median(measured)), ("p95", percentile_95(measured)))
    }
    quality = {"nDCG@10": ndcg(meta, numbers, found)}
    return {"engine": engine, "setting": label, **times, **recalls, **quality}


def percentile_95(values):
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else values[0]


def overlap(found, expected, depth):
    """Mean share of the expected best that were found; a list that is too short lacks the rest."""
    pairs = zip(found, expected.tolist(), strict=True)
    return statistics.mean(len(set(a[:depth]) & set(b[:depth])) / depth for a, b in pairs)


def ndcg(meta, numbers, found):
    """Mean nDCG@10; None where nothing is judged."""
    from xtrkit.evaluation.measures import evaluate

    queries = [meta["query_ids"][number] for number in numbers]
    qrels = {query: meta["qrels"][query] for query in queries if meta["qrels"].get(query)}
    if not qrels:
        return None
    run = {
        query: [(meta["ids"][number], -float(place)) for place, number in enumerate(ranking)]
        for query, ranking in zip(queries, found, strict=True)
    }
    return evaluate(run, qrels)["nDCG@10"]


def compare(rows):
    """Add what each search costs in terms of xtrkit's cheapest (of 4 bits) that is at least as good."""
    ours = [row for row in rows if row["engine"] == OURS]
    for other in rows:
        for name, goals in RATIOS.items():
            as_good = [row["CPU ms p50"] for row in ours if all(row[goal] >= other[goal] for goal in goals)]
            other[f"× at {name}"] = other["CPU ms p50"] / min(as_good) if as_good else None


def markdown(about, costs, measured):
    lines = [f"# {about['set']}: xtrkit and its peers", ""]
    lines += [f"- {name}: {shown(value)}" for name, value in about.items() if name != "set"]
    kept = [f"{name} ({cost['kept from']})" for name, cost in costs.items() if "kept from" in cost]
    lines += ["- indexes of an earlier run, with what their building cost then: " + (", ".join(kept) or "none")]
    lines += ["- versions: " + ", ".join(sorted(versions(costs))), "", "Building on one thread, opening, memory:", ""]
    lines += table(
        ["engine", *COSTS.values()],
        [[name, *(number(cost.get(key), 1) for key in COSTS)] for name, cost in costs.items()],
    )
    for threads, rows in measured.items():
        lines += [
            "",
            f"Searching with {threads} thread{'s, queries in batches' if threads > 1 else ', one by one'}:",
            "",
        ]
        clocks = ["CPU ms p50", "CPU ms p95"] if threads == 1 else ["CPU ms p50", "wall ms p50"]
        recalls = [f"{name}@{depth}" for name, depth in RECALLS]
        times = [f"× at {name}" for name in RATIOS] if threads == 1 else []
        lines += table(
            ["engine", "setting", *clocks, *recalls, "nDCG@10", *times],
            [
                [row["engine"], row["setting"], *(number(row[name], 2) for name in clocks),
                 *(number(row[name], 3) for name in [*recalls, "nDCG@10"]), *(number(row[name], 1) for name in times)]
                for row in rows
            ],
        )  # fmt: skip
    if 1 in measured and (met := goals_met(measured[1], costs)):
        lines += ["", "Figures to reach, one thread, processor time:", "", *table(HEAD, met)]
    return lines


def versions(costs):
    return {f"{name} {version}" for cost in costs.values() for name, version in cost.get("versions", {}).items()}


def number(value, digits):
    return "–" if value is None else f"{value:,.{digits}f}"


def shown(value):
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(item)}" for name, item in value.items()) or "nothing"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
