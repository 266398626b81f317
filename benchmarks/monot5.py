"""A small monoT5 and a UR²N from a small T5: what is drawn, and how they are trained.

    python benchmarks/monot5.py --data DATASETS --t5 FLAN_T5_SMALL --work WORK                   # a core, an hour
    python benchmarks/monot5.py --data DATASETS --t5 FLAN_T5_SMALL --work WORK --device cuda     # a GPU, minutes

DATASETS holds one BEIR folder for each name in ``LICENCES``. In WORK there will be ``mined`` (BM25's hard negatives),
``pairs`` (what was drawn), ``model`` (a monoT5, for ``--rerank``) and ``ur2n`` (the same with a branch that retrieves,
for ``--model``, too). What is there is used again; a training that was stopped goes on.
"""

import argparse
import json
import random
from functools import partial
from pathlib import Path

import torch
from xtrkit_mini import SEED, easy_pairs, judged_elsewhere

from xtrkit.training import train
from xtrkit.training.recipes import UR2N_TRAINING
from xtrkit.training.reranker_recipes import MONOT5_TRAINING

LICENCES = {
    "bioasq-snippets-train": "CC BY 2.5",
    "medquad": "CC BY 4.0",
    "boolq": "CC BY-SA 3.0",
    "hotpotqa-dev": "CC BY-SA 4.0",
    "squad-reqa": "CC BY-SA 4.0",
}
# Most training queries of each set, and hard negatives of each: of a core, of a GPU.
QUERIES, NEGATIVES = {"cpu": 500, "cuda": 6000}, {"cpu": 2, "cuda": 3}
MONOT5 = {
    "cpu": MONOT5_TRAINING.but(
        loss="list", batch_size=16, rows_per_forward=16, max_length=192, learning_rate=5e-4, dropout=0.0, eval_steps=30
    ),
    "cuda": MONOT5_TRAINING.but(
        loss="list", batch_size=64, rows_per_forward=64, max_length=256, learning_rate=5e-4, bf16=True, top_layers=8
    ),
}  # of a GPU all layers of a small T5, without its embeddings
UR2N = {
    "cpu": UR2N_TRAINING.but(epochs=2),
    "cuda": UR2N_TRAINING.but(epochs=4, bf16=True, rows_per_forward=128),
}
DEV = {"cpu": {"dev_queries": 40}, "cuda": {"dev_queries": 120}}


def draw(folder, mined, path, n, negatives):
    """At most ``n`` queries, no document twice as a positive, each with some of the mined negatives."""
    chosen, left_out, lines, positives = random.Random(SEED), judged_elsewhere(folder), [], set()
    candidates = [json.loads(line) for line in mined.read_text(encoding="utf-8").splitlines()]
    chosen.shuffle(candidates)
    for query, positive, *found in candidates:
        # SQuAD's "te…" are all sentences of the test articles, judged or not.
        found = [name for name in found if name not in left_out and not name.startswith("te")]
        if len(lines) < n and len(found) >= negatives and positive not in left_out | positives:
            positives.add(positive)
            lines.append(json.dumps([query, positive, *chosen.sample(found, negatives)]) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")


def trained(recipe, base, data, out, **choices):
    """Train unless it is done; go on where it was stopped."""
    if not (out / "config.json").is_file():
        train(
            recipe,
            str(base),
            data,
            out,
            resume=(out / "training" / "settings.json").is_file(),
            licence="Apache-2.0",
            data_licences={f"{name}.jsonl@{name}": licence for name, licence in LICENCES.items()},
            report=lambda report: print(report, flush=True),
            **choices,
        )
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--t5", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=0, help="of the monoT5; by default one pass over the data")
    parser.add_argument("--branch-steps", type=int, default=0, help="of the branch; by default some passes")
    arguments = parser.parse_args()
    work, device = arguments.work, arguments.device
    if device == "cpu":
        torch.set_num_threads(1)
    sets = {name: (QUERIES[device], licence) for name, licence in LICENCES.items()}
    data = easy_pairs(arguments.data, work, sets, partial(draw, negatives=NEGATIVES[device]))
    choices = {"device": device, **DEV[device]}
    recipe = MONOT5[device].but(steps=arguments.steps, negatives=NEGATIVES[device])
    monot5 = trained(recipe, arguments.t5, data, work / "model", **choices)
    branch = UR2N[device].but(steps=arguments.branch_steps) if arguments.branch_steps else UR2N[device]
    trained(branch, monot5, data, work / "ur2n", cache=work / "activations", **choices)


if __name__ == "__main__":
    main()
