"""How xtrkit-mini might be trained better: settings compared on collections that they have not seen, on one GPU.

    python benchmarks/xtrkit_mini.py --data DATASETS --work WORK --until start
    python benchmarks/xtrkit_mini_experiments.py prepare --data DATASETS --work WORK
    python benchmarks/xtrkit_mini_experiments.py compare --work WORK --out OUT --device cuda

``prepare`` draws what is learnt from and what is measured with, from the training queries of the five sets alone.
``compare`` trains each of ``SETTINGS`` on some of the sets and measures it on the others (``FOLDS``: each set is held
out once), takes the setting and the share of the mean with the start that do best there, trains it on all sets with
three seeds, mines with the mean of these, trains again, and writes what it found to ``OUT/figures.json``, weights to
``OUT/*.safetensors``. docs/training.md has what came out.
"""

import argparse
import json
import math
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules.dense import Dense
from torch.optim.lr_scheduler import LambdaLR

from xtrkit.training.base import load_base
from xtrkit.training.careful import make_optimizer
from xtrkit.training.inputs import TextInputs
from xtrkit.training.objectives import LateInteractionLoss
from xtrkit.training.recipes import XTR_TRAINING
from xtrkit.training.top_layers import freeze_below

# Each set is held out once: what is trained on the others says how collections fare that nobody trained on.
FOLDS = (("squad-reqa", "medquad"), ("hotpotqa-dev", "boolq", "bioasq-snippets-train"))
# What is drawn of each set in a hundred, as for the model that is shipped.
MIXTURE = {"squad-reqa": 25, "hotpotqa-dev": 25, "boolq": 20, "medquad": 12.5, "bioasq-snippets-train": 17.5}
HALVES = "boolq"  # its passages cut in two, the one half to find the other: queries as long as a passage
DEV_QUERIES, DEV_NEGATIVES, NEGATIVES, CHARACTERS = 400, 4, 4, 1700
FEWER_NEGATIVES = {"hotpotqa-dev": 1}  # of a corpus of 66,581, which would fill the disk with texts used once
# Looked at once, at the end, with what was chosen without them; and how many tokens of their documents are read.
TESTS, TEST_QUERIES = {"scifact": 512, "nfcorpus": 512, "cranfield": 512, "squad-reqa": 128}, 1500
SHARES = (0.25, 0.5, 1.0)
K_PRIME, SEED = 1000, 1
FOR_COMPARING = 0.6  # of the time; the rest is for the final runs


@dataclass(frozen=True)
class Setting:
    """One way to train.

    Attributes:
        name: what the table calls it.
        recipe: lengths, rates, layers.
        single: whether a batch is of one collection.
        mined: whether negatives are those that a model finds which was trained like this with BM25's.
    """

    name: str
    recipe: object
    single: bool = True
    mined: bool = False


BASE = XTR_TRAINING.but(
    query_length=64, document_length=320, batch_size=128, rows_per_forward=128, learning_rate=1e-4, projection_rate=3.0,
    top_layers=6, k_train=256, bf16=True,
)  # fmt: skip
AS_SHIPPED = BASE.but(top_layers=2, batch_size=32, steps=200, query_length=32, document_length=160)
SETTINGS = (
    Setting("as shipped: 2 layers, batches of 32, mixed", AS_SHIPPED, single=False),
    Setting("6 layers, batches of 128, mixed", BASE, single=False),
    Setting("6 layers, batches of 128 of one collection", BASE),
    Setting("the same, negatives mined again", BASE, mined=True),
    Setting("2 layers, batches of 128 of one collection", BASE.but(top_layers=2)),
)


# --- what is learnt from, and what is measured with -----------------------------------------------------------------


def prepare(data, work):
    """Write what is learnt from, ``WORK/examples``, and what the end is measured with, ``WORK/tests``."""
    for folder in ("examples", "tests"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    for name in TESTS:
        (work / "tests" / f"{name}.json").write_text(json.dumps(_test(data / name)), encoding="utf-8")
    for name in MIXTURE:
        path = work / "examples" / f"{name}.json"
        if not path.is_file():
            path.write_text(json.dumps(_examples(data / name, work / "mined" / f"{name}.jsonl")), encoding="utf-8")


def _test(folder):
    from xtrkit.evaluation.beir import open_corpus, read_test_collection
    from xtrkit.evaluation.ids import trimmed

    test, passages = read_test_collection(folder, "test"), list(open_corpus(folder))
    place = {trimmed(passage.id): n for n, passage in enumerate(passages)}
    judged = {query: {place[d]: r for d, r in found.items() if r > 0} for query, found in test.qrels.items()}
    names = [query for query in test.queries if judged.get(query)]
    names = sorted(random.Random(SEED).sample(names, min(len(names), TEST_QUERIES)))
    return {
        "queries": [test.queries[query] for query in names],
        "documents": [passage.text or "" for passage in passages],
        "relevant": [sorted(judged[query].items()) for query in names],
    }


def _examples(folder, mined):
    """Of each query its positives and negatives, by number, with the texts."""
    from xtrkit_mini import judged_elsewhere  # here alone: where there is a GPU, torch is enough

    from xtrkit.evaluation.beir import open_corpus, read_test_collection
    from xtrkit.evaluation.ids import trimmed

    left_out, chosen = judged_elsewhere(folder), random.Random(SEED)
    found = {}
    for line in mined.read_text(encoding="utf-8").splitlines():
        query, positive, *negatives = json.loads(line)
        if positive not in left_out:
            # SQuAD's "te…" are all sentences of the test articles, judged or not.
            kept = [n for n in negatives if n not in left_out and not n.startswith("te")]
            found.setdefault(query, ([], kept))[0].append(positive)
    found = {query: (positives, kept) for query, (positives, kept) in found.items() if kept}
    dev = set(chosen.sample(sorted(found), min(DEV_QUERIES, len(found) // 8)))
    most = FEWER_NEGATIVES.get(folder.name, NEGATIVES)
    for query, (positives, kept) in found.items():
        found[query] = (positives, chosen.sample(kept, min(len(kept), DEV_NEGATIVES if query in dev else most)))
    texts = {trimmed(p.id): p.text or "" for p in open_corpus(folder)}
    queries = read_test_collection(folder, "train").queries
    documents = sorted({d for positives, negatives in found.values() for d in (*positives, *negatives)})
    place = {document: n for n, document in enumerate(documents)}
    return {
        "queries": [queries[query] for query in found],
        "documents": [texts[document][:CHARACTERS] for document in documents],
        "examples": [[[place[d] for d in part] for part in parts] for parts in found.values()],
        "dev": [n for n, query in enumerate(found) if query in dev],
    }


class Collection:
    """One set on the device: tokens of its texts, and its examples."""

    def __init__(self, content, model, device):
        self.queries = _tokens(model, content["queries"], "query", device)
        self.documents = _tokens(model, content["documents"], "document", device)
        self.examples = content["examples"]
        self.dev = content["dev"]
        self.training = sorted(set(range(len(self.examples))) - set(self.dev))
        self.lengths = {what: (getattr(self, what) >= 0).sum(dim=1).tolist() for what in ("queries", "documents")}

    def pool(self):
        """The dev queries, the documents that they are searched among, and (queries, documents) which are relevant."""
        used = sorted({d for n in self.dev for part in self.examples[n] for d in part})
        place = {document: n for n, document in enumerate(used)}
        relevant = torch.zeros(len(self.dev), len(used))
        for row, n in enumerate(self.dev):
            relevant[row, [place[d] for d in self.examples[n][0]]] = 1
        return self.queries[self.dev], self.documents[used], relevant.to(self.queries.device)


def sampled(content, n):
    """A small part of a set, to try things out with."""
    dev = set(content["dev"])
    kept = content["dev"][: n // 4] + [number for number in range(len(content["examples"])) if number not in dev][:n]
    examples = [content["examples"][number] for number in kept]
    documents = sorted({d for example in examples for part in example for d in part})
    place = {document: number for number, document in enumerate(documents)}
    return {
        "queries": [content["queries"][number] for number in kept],
        "documents": [content["documents"][number] for number in documents],
        "examples": [[[place[d] for d in part] for part in example] for example in examples],
        "dev": list(range(n // 4)),
    }


def _tokens(model, texts, task, device):
    """(texts, tokens) pieces, filled up with -1; on the device once and for all, so that a batch is a selection."""
    inputs, rows = TextInputs(model, texts), []
    for first in range(0, len(texts), 4096):
        features = inputs.features(task, range(first, min(first + 4096, len(texts))))
        rows += torch.where(features["attention_mask"].bool(), features["input_ids"], -1).to(torch.int32)
    width = max(len(row) for row in rows)
    found = torch.full((len(rows), width), -1, dtype=torch.int32)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return found.to(device)


def _features(tokens, length, longest=None):
    """What the model takes, texts cut to ``length``; the last piece stays the separator, as the tokenizer has it.

    ``longest`` is the length of the longest text, if that is known without asking the device.
    """
    ends = (tokens >= 0).sum(dim=1, keepdim=True)
    width = min(length, longest or int(ends.max()))
    cut = tokens[:, :width].long()
    if width == length:
        last = tokens.gather(1, ends.clamp(min=1) - 1).long()
        cut[:, -1:] = torch.where(ends > length, last, cut[:, -1:])
    mask = (cut >= 0).long()
    return {"input_ids": cut.clamp(min=0), "attention_mask": mask, "token_type_ids": torch.zeros_like(cut)}


# --- measuring ------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def embed(model, tokens, task, length, bf16, rows=256):
    """(texts, tokens, d) unit vectors in float32, 0 where there is no token, and (texts, tokens) where there is one."""
    order = (tokens >= 0).sum(dim=1).argsort(descending=True)
    width = min(length, tokens.shape[1])
    vectors = torch.zeros(len(tokens), width, 128, device=tokens.device, dtype=torch.float16 if bf16 else torch.float32)
    real = torch.zeros(len(tokens), width, dtype=torch.bool, device=tokens.device)
    for part in order.split(rows):
        features = _features(tokens[part], length)
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=bf16):
            found = model(dict(features), task=task)["token_embeddings"]
        mask = features["attention_mask"].bool()
        vectors[part, : mask.shape[1]] = (found.float() * mask[..., None]).to(vectors.dtype)
        real[part, : mask.shape[1]] = mask
    return vectors, real


@torch.inference_mode()
def similarities(queries, documents, k_prime=K_PRIME, rows=8):
    """(queries, documents) scores by XTR, what is not retrieved imputed, and by MaxSim: exact, of unit vectors."""
    (of_queries, real), (vectors, mask) = queries, documents
    tokens, absent = vectors.flatten(0, 1), ~mask.flatten()
    places, xtr, maxsim = mask.flatten().nonzero()[:, 0], [], []
    k = min(k_prime, len(places))
    for part, kept in zip(of_queries.split(rows), real.split(rows), strict=True):
        flat = part[kept]
        found = (flat @ tokens.T).float().masked_fill_(absent, -1.0)
        least = found[:, places].topk(k, sorted=False).values.amin(dim=1, keepdim=True)
        best = found.view(len(flat), *mask.shape).amax(dim=2)
        owners = kept.nonzero()[:, 0]
        lengths = kept.sum(dim=1, keepdim=True)
        for scores, values in ((xtr, torch.maximum(best, least)), (maxsim, best)):
            scores.append(best.new_zeros(len(part), len(mask)).index_add_(0, owners, values) / lengths)
    return torch.cat(xtr), torch.cat(maxsim)


def ndcg(scores, relevant, k=10):
    """(queries,) nDCG@k."""
    discounts = 1 / torch.log2(torch.arange(2, k + 2, device=scores.device).float())
    return (relevant.gather(1, scores.topk(k).indices) @ discounts) / (relevant.topk(k).values @ discounts)


def measure(model, pools, bf16):
    """{set: (nDCG@10 with XTR, with MaxSim)}."""
    model.eval()
    found = {}
    for name, (queries, documents, relevant) in pools.items():
        length = 256 if name == "halves" else BASE.query_length
        embedded = embed(model, queries, "query", length, bf16), embed(model, documents, "document", 320, bf16)
        found[name] = tuple(round(float(ndcg(scores, relevant).mean()), 4) for scores in similarities(*embedded))
        torch.cuda.empty_cache()  # others may be at work on the same GPU
    return found


def halves(content, model, device, n=400, most=2000):
    """A pool of second halves of passages, each to be found by its first half."""
    words = [text.split() for text in content["documents"][:most]]
    first = [" ".join(w[: len(w) // 2]) for w in words if len(w) >= 40]
    second = [" ".join(w[len(w) // 2 :]) for w in words if len(w) >= 40]
    relevant = torch.eye(len(second))[:n].to(device)
    tokens = _tokens(model, first[:n], "document", device), _tokens(model, second, "document", device)
    return (*tokens, relevant)


# --- training -------------------------------------------------------------------------------------------------------


def batches(collections, setting, seed, negatives=None):
    """Endlessly: features of queries and of documents, the positives first."""
    draw, names = random.Random(seed), list(collections)
    weights = [MIXTURE[name] for name in names]
    streams = {name: _shuffled(collections[name].training, random.Random(f"{seed} {name}")) for name in names}
    recipe, n_examples = setting.recipe, sum(len(collection.training) for collection in collections.values())
    while True:
        size = min(recipe.batch_size, max(2, n_examples // 8))
        chosen = draw.choices(names, weights) * size if setting.single else draw.choices(names, weights, k=size)
        yield _batch([_drawn(collections, name, next(streams[name]), draw, negatives) for name in chosen], recipe)


def _shuffled(numbers, draw):
    numbers = list(numbers)
    while True:
        draw.shuffle(numbers)
        yield from numbers


def _drawn(collections, name, number, draw, negatives):
    """A query, one of its positives, one negative, and all positives; documents numbered over all sets."""
    positives, hard = collections[name].examples[number]
    if negatives and negatives[name].get(number):
        hard = negatives[name][number]
    return collections[name], number, draw.choice(positives), draw.choice(hard), positives


def _batch(drawn, recipe):
    device = drawn[0][0].queries.device
    first = {id(c): 10_000_000 * n for n, c in enumerate({id(c): c for c, *_ in drawn}.values())}
    rows = [(c, d) for c, _, positive, negative, _ in drawn for d in (positive, negative)]
    queries = _rows([(c, number) for c, number, *_ in drawn], "queries", recipe.query_length)
    documents = _rows(rows, "documents", recipe.document_length)
    most = max(len(positives) for *_, positives in drawn)
    known = [[first[id(c)] + p for p in positives] + [-1] * (most - len(positives)) for c, *_, positives in drawn]
    queries["positives"] = torch.tensor(known, device=device)
    documents["number"] = torch.tensor([first[id(c)] + d for c, d in rows], device=device)
    return [queries, documents]


def _rows(chosen, what, length):
    """Features of some texts of one set or several, in order."""
    places, parts = {}, []
    for at, (collection, number) in enumerate(chosen):
        places.setdefault(id(collection), (collection, [], []))[1].append(number)
        places[id(collection)][2].append(at)
    width, longest = max(getattr(c, what).shape[1] for c, _, _ in places.values()), 0
    for collection, numbers, _ in places.values():
        tokens = getattr(collection, what)
        longest = max(longest, *(collection.lengths[what][n] for n in numbers))
        found = tokens[torch.tensor(numbers, device=tokens.device)]
        parts.append(torch.nn.functional.pad(found, (0, width - found.shape[1]), value=-1))
    order = torch.tensor([at for _, _, at_all in places.values() for at in at_all])
    return _features(torch.cat(parts)[order.argsort().to(parts[0].device)], length, longest)


class Bench:
    """The model, what it started from, and the clock."""

    def __init__(self, model, seconds):
        self.model, self.began, self.seconds = model, time.monotonic(), seconds
        self.start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.device = model.device
        self.bf16 = self.device.type == "cuda"

    def left(self):
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self.began)

    def train(self, setting, collections, seed, steps, negatives=None):
        """Train from the start; the weights that differ from it."""
        torch.manual_seed(seed)
        model, recipe = self.model, setting.recipe
        model.load_state_dict(self.start)
        freeze_below(model, recipe.top_layers)
        model.train()
        projections = [p for module in model if isinstance(module, Dense) for p in module.parameters()]
        optimizer = make_optimizer(model, recipe, projections, recipe.projection_rate)
        warm = math.ceil(recipe.warmup * steps)
        schedule = LambdaLR(optimizer, lambda n: min((n + 1) / warm, (steps - n) / max(1, steps - warm)))
        loss_of, learning = LateInteractionLoss(model, recipe), [p for p in model.parameters() if p.requires_grad]
        losses, drawn, began = [], batches(collections, setting, seed, negatives), time.monotonic()
        for _ in range(steps):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = loss_of(next(drawn))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, recipe.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
        curve = [round(float(part.mean()), 4) for part in torch.stack(losses).split(max(1, steps // 5))]
        taken = time.monotonic() - began
        print(f"  {setting.name}, seed {seed}: {steps} steps, {taken:.1f} s, loss {curve}", flush=True)
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        state = model.state_dict()
        return {name: state[name].clone() for name in names}, taken / steps

    def load(self, weights, share=1.0):
        """The mean of weights and those of the start."""
        state = dict(self.start)
        state |= {name: torch.lerp(self.start[name], tensor, share) for name, tensor in weights.items()}
        self.model.load_state_dict(state)
        self.model.eval()

    @torch.inference_mode()
    def mine(self, collections, weights, share, n=5000, depth=30, margin=0.05, most=8):
        """{set: {query: the documents that the model finds best below 95 % of the positive's score}}."""
        self.load(weights, share)
        found = {}
        for name, collection in collections.items():
            documents = embed(self.model, collection.documents, "document", 160, self.bf16)
            found[name] = {}
            some = random.Random(SEED).sample(collection.training, min(n, len(collection.training)))
            for numbers in torch.tensor(some).split(512):
                queries = embed(self.model, collection.queries[numbers.to(self.device)], "query", 64, self.bf16)
                scores = torch.cat([_maxsim(queries, documents, part) for part in range(0, len(numbers), 64)])
                best = scores.topk(min(depth, scores.shape[1]))
                rows = zip(numbers.tolist(), best.indices.tolist(), best.values.tolist(), scores.cpu(), strict=True)
                for number, names, values, row in rows:
                    positives = collection.examples[number][0]
                    bound = (1 - margin) * float(row[positives].min())
                    kept = zip(names, values, strict=True)
                    found[name][number] = [d for d, s in kept if s <= bound and d not in positives][:most]
        return found


def _maxsim(queries, documents, first, rows=64):
    """(rows, documents) MaxSim of some of the queries, a few documents at a time."""
    (vectors, real), (tokens, mask) = queries, documents
    part, kept = vectors[first : first + rows], real[first : first + rows]
    flat, owners = part[kept], kept.nonzero()[:, 0]
    found = []
    for some, some_mask in zip(tokens.split(2048), mask.split(2048), strict=True):
        grid = (flat @ some.flatten(0, 1).T).masked_fill_(~some_mask.flatten(), -1.0)
        best = grid.view(len(flat), *some_mask.shape).amax(dim=2).float()
        found.append(best.new_zeros(len(part), len(some)).index_add_(0, owners, best))
    return torch.cat(found, dim=1) / kept.sum(dim=1, keepdim=True)


# --- the comparison -------------------------------------------------------------------------------------------------


def compare(work, out, device, seconds, steps, final_steps, sample):
    """Compare the settings, and train the best, as far as ``seconds`` go; figures are written after every run."""
    out.mkdir(parents=True, exist_ok=True)
    model, _ = load_base(str(work / "start"), BASE, device)
    model[0].query_length, model[0].document_length = 256, BASE.document_length
    bench = Bench(model, seconds)
    contents = {name: json.loads((work / "examples" / f"{name}.json").read_text(encoding="utf-8")) for name in MIXTURE}
    if sample:
        contents = {name: sampled(content, sample) for name, content in contents.items()}
    collections = {name: Collection(content, model, device) for name, content in contents.items()}
    pools = {name: collection.pool() for name, collection in collections.items()}
    pools["halves"] = halves(contents[HALVES], model, device)
    print(f"read and tokenized: {seconds - bench.left():.1f} s", flush=True)
    figures = {"pools": {name: [len(pool[0]), len(pool[1])] for name, pool in pools.items()}}
    figures["start"] = measure(model, pools, bench.bf16)
    print(f"start: {figures['start']}, {seconds - bench.left():.1f} s", flush=True)
    if not steps:
        bench.train(SETTINGS[2], collections, SEED, 5)
        _, cost = bench.train(SETTINGS[2], collections, SEED, 15)
        runs = len(FOLDS) * (len(SETTINGS) - 1)
        steps = max(40, min(300, int(bench.left() * FOR_COMPARING * 0.55 / runs / cost)))
    figures["steps"], figures["held_out"], figures["seconds_a_step"] = steps, {}, {}
    _hold_out(bench, collections, pools, figures, out, steps, until=bench.left() * (1 - FOR_COMPARING))
    setting, share = _best(figures)
    cost = figures["seconds_a_step"].get(setting.name, 1.0)
    figures["chosen"] = [setting.name, share]
    figures["final_steps"] = final_steps or max(40, min(600, int((bench.left() - 12) * 0.95 / 6 / cost)))
    print(f"chosen: {figures['chosen']}, {figures['final_steps']} steps", flush=True)
    found = _final(bench, collections, pools, figures, out, replace(setting, mined=False), share)
    del collections, pools
    models = {"start": ({}, 0.0), **{name: (weights, share) for name, weights in found.items()}}
    if (work / "shipped.safetensors").is_file():
        models["shipped"] = (read_deltas(bench.start, work / "shipped.safetensors"), 1.0)
    if not sample:
        _test_once(bench, models, work / "tests", figures, out)


def _test_once(bench, models, folder, figures, out):
    """nDCG@10 of each query of the test collections that are in the folder."""
    figures["tests"] = {name: {} for name in models}
    for path in sorted(folder.glob("*.json")):
        content, length = json.loads(path.read_text(encoding="utf-8")), TESTS[path.stem]
        bench.model[0].document_length = length
        texts = content["queries"], content["documents"]
        queries, documents = (_tokens(bench.model, some, "document", bench.device) for some in texts)
        relevant = torch.zeros(len(queries), len(documents))
        for row, judged in enumerate(content["relevant"]):
            for document, grade in judged:
                relevant[row, document] = grade
        relevant = relevant.to(bench.device)
        for name, (weights, share) in models.items():
            bench.load(weights, share)
            embedded = (
                embed(bench.model, queries, "query", 256, bench.bf16),
                embed(bench.model, documents, "document", length, bench.bf16),
            )
            xtr, maxsim = (ndcg(scores, relevant) for scores in similarities(*embedded))
            figures["tests"][name][path.stem] = [round(value, 4) for value in xtr.tolist()]
            print(f"{path.stem}, {name}: XTR {xtr.mean():.4f}, MaxSim {maxsim.mean():.4f}", flush=True)
            torch.cuda.empty_cache()
        _write(figures, out)


def _hold_out(bench, collections, pools, figures, out, steps, until):
    trained = {}
    for setting in SETTINGS:
        if bench.left() < until or (setting.mined and not trained):
            print(f"no time for {setting.name}", flush=True)
            continue
        found = {}
        for fold, held in enumerate(FOLDS):
            rest = {name: c for name, c in collections.items() if name not in held}
            negatives = bench.mine(rest, trained[fold], 0.5) if setting.mined else None
            n = min(setting.recipe.steps or steps, 4 * steps)
            weights, cost = bench.train(setting, rest, SEED, n, negatives)
            figures["seconds_a_step"][setting.name] = cost
            if setting.recipe is BASE and setting.single and not setting.mined:
                trained[fold] = weights
            chosen = {name: pools[name] for name in (*held, *(["halves"] if HALVES in held else []))}
            for share in SHARES:
                bench.load(weights, share)
                found.setdefault(str(share), {}).update(measure(bench.model, chosen, bench.bf16))
        figures["held_out"][setting.name] = found
        for share, of_sets in found.items():
            print(f"    {share}: {_mean(of_sets):.4f} {of_sets}", flush=True)
        print(f"  {bench.seconds - bench.left():.1f} s", flush=True)
        _write(figures, out)


def _mean(of_sets):
    return sum(xtr for xtr, _ in of_sets.values()) / len(of_sets)


def _best(figures):
    """The setting and the share with the best mean over the sets that were held out."""
    of = {setting.name: setting for setting in SETTINGS}
    every = [(_mean(v), name, share) for name, found in figures["held_out"].items() for share, v in found.items()]
    _, name, share = max(every) if every else (0, SETTINGS[2].name, 0.5)
    return of[name], float(share)


def _final(bench, collections, pools, figures, out, setting, share):
    """All sets, three seeds and their mean; then once more with negatives that this mean finds."""
    negatives, figures["final"], found = None, {}, {}
    for name in ("round1", "round2"):
        weights, cost = [], 0.0
        for seed in range(SEED, SEED + 3):
            if bench.left() < cost + 4:
                print("no time for another seed", flush=True)
                break
            began = bench.left()
            weights.append(bench.train(setting, collections, seed, figures["final_steps"], negatives)[0])
            cost = began - bench.left()
        if not weights:
            return found
        mean = {key: torch.stack([each[key] for each in weights]).mean(dim=0) for key in weights[0]}
        found[name] = mean
        write_deltas(bench.start, mean, out / f"{name}.safetensors")
        bench.load(mean, share)
        figures["final"][name] = {"seeds": len(weights), "in_domain": measure(bench.model, pools, bench.bf16)}
        _write(figures, out)
        print(f"{name}: {figures['final'][name]}, {bench.seconds - bench.left():.1f} s", flush=True)
        if bench.left() < cost + 10:
            print("no time for a second round", flush=True)
            return found
        if name == "round1":
            negatives = bench.mine(collections, mean, share)
            print(f"mined: {bench.seconds - bench.left():.1f} s", flush=True)
    return found


def write_deltas(start, weights, path):
    """What training added, in int8 with a scale for each row: 4 times smaller than the weights, and as good."""
    content = {}
    for name, tensor in weights.items():
        delta = (tensor - start[name]).float().cpu()
        rows = delta.reshape(len(delta), -1)
        scale = (rows.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-12)
        content[f"{name}.int8"] = (rows / scale).round().to(torch.int8).contiguous()
        content[f"{name}.scale"] = scale.contiguous()
    save_file(content, path)


def read_deltas(start, path):
    """Weights of what :func:`write_deltas` wrote."""
    content = load_file(path)
    deltas = {name[:-5]: content[name] * content[f"{name[:-5]}.scale"] for name in content if name.endswith(".int8")}
    return {name: start[name] + delta.to(start[name]).view_as(start[name]) for name, delta in deltas.items()}


def _write(figures, out):
    (out / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in (("prepare", prepare), ("compare", compare)):
        command = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        command.add_argument("--work", type=Path, required=True)
        if name == "prepare":
            command.add_argument("--data", type=Path, required=True)
            continue
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--device", default="cuda")
        command.add_argument("--seconds", type=float, default=600, help="about how long it may take")
        command.add_argument("--steps", type=int, default=0, help="of each comparison; as many as the time allows")
        command.add_argument("--final-steps", type=int, default=0, help="of each final run")
        command.add_argument("--sample", type=int, default=0, help="examples of each set, to try it out; all of them")
    arguments = vars(parser.parse_args())
    {"prepare": prepare, "compare": compare}[arguments.pop("command")](**arguments)


if __name__ == "__main__":
    main()
