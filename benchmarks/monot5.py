"""A small monoT5 from a small T5, on the CPU: what is drawn, and how it is trained.

    python benchmarks/monot5.py --data DATASETS --t5 FLAN_T5_SMALL --work WORK [--steps 150]

DATASETS holds one BEIR folder for each name in ``PAIRS``. In WORK there will be ``mined`` (BM25's hard negatives),
``pairs`` (what was drawn) and ``model`` (a checkpoint for ``--rerank``). What is there is used again; a training that
was stopped goes on.
"""

import argparse
import json
import random
from pathlib import Path

import torch
from xtrkit_mini import SEED, easy_pairs, judged_elsewhere

from xtrkit.training import train
from xtrkit.training.reranker_recipes import MONOT5_TRAINING

# Training queries of each set that are drawn, and the licence of the set.
PAIRS = {
    "bioasq-snippets-train": (800, "CC BY 2.5"),
    "medquad": (400, "CC BY 4.0"),
    "boolq": (450, "CC BY-SA 3.0"),
    "hotpotqa-dev": (450, "CC BY-SA 4.0"),
    "squad-reqa": (400, "CC BY-SA 4.0"),
}
NEGATIVES = 2
RECIPE = MONOT5_TRAINING.but(
    loss="list", negatives=NEGATIVES, batch_size=16, rows_per_forward=16, max_length=192, learning_rate=5e-4,
    dropout=0.0, eval_steps=30,
)  # fmt: skip


def draw(folder, mined, path, n):
    """At most ``n`` queries, no document twice as a positive, each with ``NEGATIVES`` of the mined negatives."""
    chosen, left_out, lines, positives = random.Random(SEED), judged_elsewhere(folder), [], set()
    candidates = [json.loads(line) for line in mined.read_text(encoding="utf-8").splitlines()]
    chosen.shuffle(candidates)
    for query, positive, *negatives in candidates:
        # SQuAD's "te…" are all sentences of the test articles, judged or not.
        negatives = [name for name in negatives if name not in left_out and not name.startswith("te")]
        if len(lines) < n and len(negatives) >= NEGATIVES and positive not in left_out | positives:
            positives.add(positive)
            lines.append(json.dumps([query, positive, *chosen.sample(negatives, NEGATIVES)]) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--t5", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=0, help="one pass over the data by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data, out = easy_pairs(arguments.data, arguments.work, PAIRS, draw), arguments.work / "model"
    if not (out / "config.json").is_file():
        train(
            RECIPE.but(steps=arguments.steps),
            str(arguments.t5),
            data,
            out,
            dev_queries=40,
            resume=(out / "training" / "settings.json").is_file(),
            device="cpu",
            licence="Apache-2.0",
            data_licences={f"{name}.jsonl@{name}": licence for name, (_, licence) in PAIRS.items()},
            report=lambda report: print(report, flush=True),
        )


if __name__ == "__main__":
    main()
