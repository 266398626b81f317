"""Time and memory of a training step: plain sentence-transformers, xtrkit's loss, and top layers on kept activations.

    python benchmarks/training.py --batch 32 --negatives 0

Each way runs in a process of its own, on one thread, on all-MiniLM-L6-v2 with a 128-dimensional projection and the XTR
objective; times are CPU seconds, the least of some steps; peaks are of resident memory, less what the process held
before its first step. All texts have the full length, which is the worst case. ``--objective`` leaves the encoder
out: token embeddings are given, and the scores, the loss and their gradients are measured alone.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

WAYS = ("sentence-transformers", "xtrkit", "xtrkit, recomputing", "xtrkit, top 2 layers kept", "xtrkit, top layer kept")
ALONE = ("sentence-transformers", "xtrkit")


def features_of(model, task, rows, length, seed):
    """``rows`` texts of ``length`` random tokens between the marks of BERT."""
    import torch

    ids = torch.randint(1000, 30000, (rows, length), generator=torch.Generator().manual_seed(seed))
    ids[:, 0], ids[:, -1] = model.tokenizer.cls_token_id, model.tokenizer.sep_token_id
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "task": task}


def build(way, arguments):
    """A loss and the features of a batch, ready for steps."""
    from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss
    from sentence_transformers.multi_vector_encoder.scoring import XTRScores

    from xtrkit.training.base import load_base
    from xtrkit.training.objectives import LateInteractionLoss
    from xtrkit.training.recipes import XTR_TRAINING
    from xtrkit.training.top_layers import LowerLayers, UpperLayers, freeze_below

    recipe = XTR_TRAINING.but(recompute="recomputing" in way, k_train=arguments.k_train)
    model, _ = load_base("all-MiniLM-L6-v2", recipe, "cpu")
    queries = features_of(model, "query", arguments.batch, arguments.query_length, 0)
    documents = [
        features_of(model, "document", arguments.batch, arguments.document_length, 1 + place)
        for place in range(1 + arguments.negatives)
    ]
    if arguments.objective:
        model = objective_alone(model, recipe, [queries, *documents])
    if way == "sentence-transformers":
        scores = XTRScores(top_k=arguments.k_train)
        loss = MultiVectorMultipleNegativesRankingLoss(model, scale=1 / recipe.temperature, similarity_fct=scores)
        return model, loss, [queries, *documents]
    if "kept" not in way:
        return model, LateInteractionLoss(model, recipe), [queries, *documents]
    depth = 1 if "top layer " in way else 2
    freeze_below(model, depth)
    lower = LowerLayers(model, depth)
    return model, LateInteractionLoss(UpperLayers(model, depth), recipe), [
        {**entry, "hidden_states": kept(lower, entry)} for entry in (queries, *documents)
    ]  # fmt: skip


def objective_alone(model, recipe, features):
    """An encoder without layers, and features that hold the token embeddings themselves, which are its parameters."""
    import torch

    class Given(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer, self.embeddings = model.tokenizer, torch.nn.ParameterList()

        def forward(self, features, task=None):
            return {**features, "token_embeddings": features["given"]}

    given = Given()
    for place, entry in enumerate(features):
        generator = torch.Generator().manual_seed(place)
        rows = torch.randn(*entry["input_ids"].shape, recipe.dim, generator=generator)
        given.embeddings.append(torch.nn.Parameter(torch.nn.functional.normalize(rows, dim=-1)))
        entry["given"] = given.embeddings[place]
    return given


def kept(lower, entry):
    """The activations of a batch, as float16 on disk and back."""
    import numpy as np
    import torch

    with torch.inference_mode():
        states = [
            lower({key: value[row : row + 8] for key, value in entry.items() if key != "task"})
            for row in range(0, len(entry["input_ids"]), 8)
        ]
    with tempfile.TemporaryFile() as file:
        np.save(file, torch.cat(states).half().numpy())
        file.seek(0)
        return torch.from_numpy(np.load(file)).float()


def resident():
    """Bytes of resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run(way, arguments):
    """Steps of one way: prints its figures as JSON."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, loss, features = build(way, arguments)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    before, peak, done = resident(), 0, False

    def watch():
        nonlocal peak
        while not done:
            peak = max(peak, resident())
            time.sleep(0.01)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    seconds, value = [], 0.0
    for _ in range(arguments.steps):
        begin = time.process_time()
        optimizer.zero_grad()
        result = loss([dict(entry) for entry in features], None)
        result.backward()
        optimizer.step()
        value = float(result.detach())
        seconds.append(time.process_time() - begin)
    done = True
    thread.join()
    print(json.dumps({"way": way, "seconds": min(seconds), "gigabytes": (peak - before) / 1e9, "loss": value}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--negatives", type=int, default=0)
    parser.add_argument("--query-length", type=int, default=32)
    parser.add_argument("--document-length", type=int, default=180)
    parser.add_argument("--k-train", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--objective", action="store_true", help="scores, loss and gradients of given embeddings alone")
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--child", action="store_true")
    arguments = parser.parse_args()
    ways = arguments.way or (ALONE if arguments.objective else WAYS)
    if arguments.child:
        run(ways[0], arguments)
        return
    print(f"{'way':28} {'CPU s a step':>12} {'peak GB':>8} {'loss':>8}")
    for way in ways:
        command = [sys.executable, __file__, *_without_way(sys.argv[1:]), "--way", way, "--child"]
        ran = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        found = json.loads(ran.stdout.splitlines()[-1])
        print(f"{way:28} {found['seconds']:12.2f} {found['gigabytes']:8.2f} {found['loss']:8.4f}", flush=True)


def _without_way(arguments):
    return [a for place, a in enumerate(arguments) if a != "--way" and arguments[max(0, place - 1)] != "--way"]


if __name__ == "__main__":
    main()
