"""How xtrkit-mini is trained: all-MiniLM-L6-v2 as XTR, 128 dimensions, on one core, in half an hour of CPU time.

    python benchmarks/xtrkit_mini.py --data DATASETS --work WORK

DATASETS holds one BEIR folder for each name in ``PAIRS``. In WORK there will be ``pairs`` (drawn, with BM25's hard
negatives), ``pools`` (their documents, as BEIR folders), ``start`` (the untrained model), ``harder`` (the pairs, with
negatives that ``start`` finds), ``model`` (a checkpoint for torch) and ``export`` (int8, for ONNX Runtime). What is
there already is used again.
"""

import argparse
import json
import random
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from xtrkit.encoding import load_encoder
from xtrkit.encoding.default import ORIGINAL
from xtrkit.encoding.export import export
from xtrkit.retriever import Retriever
from xtrkit.training import train
from xtrkit.training.base import fit_projection, load_base
from xtrkit.training.formats import read_training_data
from xtrkit.training.mining import Selection, mine
from xtrkit.training.recipes import XTR_TRAINING

# Training queries of each set that are drawn, and the licence of the set.
PAIRS = {
    "squad-reqa": (2000, "CC BY-SA 4.0"),
    "hotpotqa-dev": (2000, "CC BY-SA 4.0"),
    "boolq": (1600, "CC BY-SA 3.0"),
    "medquad": (1000, "CC BY 4.0"),
    "bioasq-snippets-train": (1400, "CC BY 2.5"),
}
SEED = 1
RECIPE = XTR_TRAINING.but(
    top_layers=2, bf16=True, dim=128, projection_init="balanced", query_length=32, document_length=160, batch_size=32,
    steps=200, learning_rate=1e-4, projection_rate=3.0,
)  # fmt: skip
# All that MiniLM has positions for: passages that were cut to 256 tokens were found less often (docs/training.md).
QUERY_LENGTH, DOCUMENT_LENGTH = 256, 512
# Of the trained weights in the mean with those that training started from.
SHARE = 0.5


def judged_elsewhere(folder):
    """Documents that a test or dev query of the set is about: none of them is learnt from."""
    found = set()
    for split in ("test", "dev"):
        path = folder / "qrels" / f"{split}.tsv"
        if path.is_file():
            found |= {line.split("\t")[1] for line in path.read_text(encoding="utf-8").splitlines()[1:]}
    return found


def draw(folder, mined, path, n):
    """At most ``n`` pairs, no document twice as a positive, each with one of the mined negatives."""
    chosen, left_out, lines, positives = random.Random(SEED), judged_elsewhere(folder), [], set()
    candidates = [json.loads(line) for line in mined.read_text(encoding="utf-8").splitlines()]
    chosen.shuffle(candidates)
    for query, positive, *negatives in candidates:
        # SQuAD's "te…" are all sentences of the test articles, judged or not.
        negatives = [name for name in negatives if name not in left_out and not name.startswith("te")]
        if len(lines) < n and negatives and positive not in left_out | positives:
            positives.add(positive)
            lines.append(json.dumps([query, positive, chosen.choice(negatives)]) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")


def write_pool(folder, pairs, path):
    """A BEIR folder of the documents and queries that were drawn."""
    drawn = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    queries, documents = {query for query, *_ in drawn}, {name for _, *names in drawn for name in names}
    (path / "qrels").mkdir(parents=True)
    for name, wanted in (("corpus.jsonl", documents), ("queries.jsonl", queries)):
        lines = (folder / name).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["_id"] in wanted]
        (path / name).write_text("".join(kept), encoding="utf-8")
    head, *lines = (folder / "qrels" / "train.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.split("\t")[0] in queries and line.split("\t")[1] in documents]
    (path / "qrels" / "train.tsv").write_text(head + "".join(kept), encoding="utf-8")


def easy_pairs(data, work, sets=PAIRS, draw=draw):
    """Pairs of some sets with BM25's negatives, mined and drawn unless they are there."""
    found = []
    for name, (n, _) in sets.items():
        mined, pairs = work / "mined" / f"{name}.jsonl", work / "pairs" / f"{name}.jsonl"
        if not mined.is_file():
            mine(data / name, mined, selection=Selection(n=8, depth=50, margin=0.05))
        if not pairs.is_file():
            draw(data / name, mined, pairs, n)
        found.append(f"{pairs}@{data / name}")
    return found


def harder_pairs(data, work, start):
    """The same pairs with negatives that the untrained model finds among what was drawn."""
    found, encoder = [], None
    for name, (n, _) in PAIRS.items():
        pool, index, mined = work / "pools" / name, work / "indexes" / name, work / "mined-again" / f"{name}.jsonl"
        pairs = work / "harder" / f"{name}.jsonl"
        if not pool.exists():
            write_pool(data / name, work / "pairs" / f"{name}.jsonl", pool)
        if not mined.is_file():
            encoder = encoder or load_encoder(start)
            Retriever.create(index, Path(pool), model=encoder, nbits=16, split=False, overwrite=True, progress=True)
            mine(pool, mined, index=index, selection=Selection(n=8, depth=30, margin=0.05), progress=True)
        if not pairs.is_file():
            draw(data / name, mined, pairs, n)
        found.append(f"{pairs}@{data / name}")
    return found


def write_start(data, path):
    """all-MiniLM-L6-v2 with a projection that was fitted to training documents: what is trained, and averaged with."""
    model, _ = load_base(ORIGINAL, RECIPE, "cpu")
    fit_projection(model, read_training_data(data).documents, RECIPE.seed, balanced=True)
    model.save_pretrained(str(path), create_model_card=False)


def average(start, trained, out, share):
    """``share`` of the trained weights and the rest of those that it started from, in a copy of the trained model."""
    shutil.copytree(trained, out)
    for file in sorted(out.rglob("model.safetensors")):
        before = load_file(start / file.relative_to(out))
        after = load_file(file)
        save_file({name: torch.lerp(before[name], after[name], share) for name in after}, file, {"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--until", choices=("start", "export"), default="export", help="what to stop at")
    arguments = parser.parse_args()
    start, trained, averaged, exported = (arguments.work / name for name in ("start", "trained", "model", "export"))
    easy = easy_pairs(arguments.data, arguments.work)
    if not start.exists():
        write_start(easy, start)
    if arguments.until == "start":
        return
    data = harder_pairs(arguments.data, arguments.work, start)
    if not (trained / "modules.json").is_file():
        train(
            RECIPE,
            str(start),
            data,
            trained,
            dev=None,  # training queries of its own can't tell whether other collections are searched better
            cache=arguments.work / "activations",
            resume=trained.exists(),
            device="cpu",
            licence="Apache-2.0",
            data_licences={f"{name}.jsonl@{name}": licence for name, (_, licence) in PAIRS.items()},
            report=lambda report: print(report, flush=True),
        )
    if not averaged.exists():
        average(start, trained, averaged, SHARE)
    if not exported.exists():
        lengths = {"query_length": QUERY_LENGTH, "document_length": DOCUMENT_LENGTH}
        print(export(averaged, exported, precision="int8", **lengths))


if __name__ == "__main__":
    main()
