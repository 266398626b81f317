"""How xtrkit-multi is trained: multilingual-e5-small as XTR, on English alone, every layer, for a few minutes of a GPU.

    python benchmarks/xtrkit_multi.py --data DATASETS --base MULTILINGUAL_E5_SMALL --work WORK --device cuda

DATASETS holds one BEIR folder for each name in ``PAIRS``. In WORK there will be ``base`` (whose tokenizer normalises to
NFC), ``mined`` and ``pairs`` (BM25's hard negatives, and what is drawn of them), ``start`` (with a fitted projection),
``trained``, and ``model``, the mean of the last two. What is there already is used again.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from sentence_transformers.base.modules.dense import Dense
from xtrkit_mini import average, easy_pairs

from xtrkit.training import train
from xtrkit.training.base import fit_projection, load_base
from xtrkit.training.formats import read_training_data
from xtrkit.training.recipes import XTR_TRAINING

# Training queries of each set that are drawn, and the licence of the set.
PAIRS = {
    "squad-reqa": (9500, "CC BY-SA 4.0"),
    "hotpotqa-dev": (9500, "CC BY-SA 4.0"),
    "boolq": (7000, "CC BY-SA 3.0"),
    "medquad": (4000, "CC BY 4.0"),
    "bioasq-snippets-train": (3000, "CC BY 2.5"),
}
# Embeddings stay as they are: English texts have a tenth of the pieces, and what they'd learn, the others wouldn't.
RECIPE = XTR_TRAINING.but(
    top_layers=12, bf16=True, dim=128, projection_init="balanced", query_length=32, document_length=192, batch_size=64,
    steps=650, learning_rate=3e-5, projection_rate=3.0, rows_per_forward=64, eval_steps=250,
)  # fmt: skip
# What is left of the direction that all tokens of this base share: with the whole of it unrelated ones have a cosine of
# .73, with half of it .45.
SHARED = 0.5
# Of the trained weights in the mean with those that training started from: docs/training.md has the figures of others.
SHARE = 0.25


def write_base(source, path):
    """A copy whose tokenizer brings texts to NFC first: its own normalisation takes letters with marks apart as two."""
    shutil.copytree(source, path)
    settings = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    settings["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}, settings["normalizer"]]}
    (path / "tokenizer.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")


def write_start(base, data, path, device):
    """The base with a projection that was fitted to training documents: what is trained, and averaged with."""
    model, _ = load_base(str(base), RECIPE, device)
    fit_projection(model, read_training_data(data).documents, RECIPE.seed, balanced=True)
    (projection,) = (module.linear.weight for module in model if isinstance(module, Dense))
    with torch.no_grad():
        projection[0] *= SHARED
    model.save_pretrained(str(path), create_model_card=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True, help="multilingual-e5-small, as transformers reads it")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    arguments = parser.parse_args()
    base, start, trained, averaged = (arguments.work / name for name in ("base", "start", "trained", "model"))
    data = easy_pairs(arguments.data, arguments.work, PAIRS)
    if not start.exists():
        if not base.exists():
            write_base(arguments.base, base)
        write_start(base, data, start, arguments.device)
    if not (trained / "modules.json").is_file():
        train(
            RECIPE.but(steps=arguments.steps),
            str(start),
            data,
            trained,
            dev=None,  # English queries can't tell whether other languages are searched better
            resume=trained.exists(),
            device=arguments.device,
            licence="MIT",
            data_licences={f"{name}.jsonl@{name}": licence for name, (_, licence) in PAIRS.items()},
            report=lambda report: print(report, flush=True),
        )
    if not averaged.exists():
        average(start, trained, averaged, SHARE)


if __name__ == "__main__":
    main()
