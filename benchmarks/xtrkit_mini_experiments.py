"""How xtrkit-mini might be trained better: settings compared on collections that they were not trained on.

    python benchmarks/xtrkit_mini.py --data DATASETS --work WORK --until start
    python benchmarks/xtrkit_mini_experiments.py prepare --data DATASETS --work WORK
    python benchmarks/xtrkit_mini_experiments.py compare --work WORK --out OUT --device cuda
    python benchmarks/xtrkit_mini_experiments.py train --work WORK --out OUT --setting mined --share 0.5 --device cuda

``prepare`` draws what is learnt from and what is measured with, from the training queries of the five sets alone.
``compare`` trains each of ``SETTINGS`` on some of the sets and measures it on the others (``FOLDS``: each set is held
out once), by itself and in the mean with what it started from, and writes ``OUT/figures.json``. ``train`` trains one
setting on all sets with three seeds and writes the mean of these and of the start, a checkpoint for ``xtrkit export``,
then mines with it, trains again, and writes that, too. docs/training.md says what was measured so far.
"""

import argparse
import json
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from sentence_transformers.base.modules.dense import Dense
from torch.optim.lr_scheduler import LambdaLR

from xtrkit.training.base import load_base
from xtrkit.training.careful import make_optimizer
from xtrkit.training.inputs import TextInputs
from xtrkit.training.objectives import LateInteractionLoss
from xtrkit.training.recipes import XTR_TRAINING, TrainingRecipe, parsed
from xtrkit.training.top_layers import freeze_below

# Each set is held out once: what is trained on the others says how collections fare that nobody trained on.
FOLDS = (("squad-reqa", "medquad"), ("hotpotqa-dev", "boolq", "bioasq-snippets-train"))
# What is drawn of each set in a hundred, as for the model that is shipped.
MIXTURE = {"squad-reqa": 25, "hotpotqa-dev": 25, "boolq": 20, "medquad": 12.5, "bioasq-snippets-train": 17.5}
HALVES = "boolq"  # its passages cut in two, the one half to find the other: queries as long as a passage
DEV_QUERIES, DEV_NEGATIVES, NEGATIVES, CHARACTERS = 400, 4, 4, 1700
FEWER_NEGATIVES = {"hotpotqa-dev": 1}  # of a corpus of 66,581, which would fill the disk with texts used once
SHARES = (0.25, 0.5, 1.0)
K_PRIME, SEED = 1000, 1


@dataclass(frozen=True)
class Setting:
    """One way to train.

    Attributes:
        recipe: lengths, rates, layers.
        single: whether a batch is of one collection.
        mined: whether negatives are those that a model finds which was trained like this with BM25's.
    """

    recipe: TrainingRecipe
    single: bool = True
    mined: bool = False


BASE = XTR_TRAINING.but(
    query_length=64, document_length=320, batch_size=128, rows_per_forward=128, learning_rate=1e-4, projection_rate=3.0,
    top_layers=6, k_train=256, steps=300,
)  # fmt: skip
SHIPPED = BASE.but(top_layers=2, batch_size=32, steps=200, query_length=32, document_length=160)
SETTINGS = {
    "shipped": Setting(SHIPPED, single=False),
    "mixed": Setting(BASE, single=False),
    "single": Setting(BASE),
    "mined": Setting(BASE, mined=True),
    "top-2": Setting(BASE.but(top_layers=2)),
}
SEEDS = (1, 2, 3)


# --- what is learnt from, and what is measured with -----------------------------------------------------------------


def prepare(data, work):
    """Write ``WORK/examples/NAME.json``: what is learnt from and measured with."""
    (work / "examples").mkdir(parents=True, exist_ok=True)
    for name in MIXTURE:
        path = work / "examples" / f"{name}.json"
        if not path.is_file():
            path.write_text(json.dumps(_examples(data / name, work / "mined" / f"{name}.jsonl")), encoding="utf-8")


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
    dim = int(model.get_embedding_dimension())
    vectors = torch.zeros(len(tokens), width, dim, device=tokens.device, dtype=torch.float16 if bf16 else torch.float32)
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
    k = min(k, scores.shape[1])
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
    """The model, what it started from, and the sets."""

    def __init__(self, work, device, sample):
        self.model, _ = load_base(str(work / "start"), BASE, device)
        self.model[0].document_length = BASE.document_length
        self.start = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.device, self.bf16 = self.model.device, self.model.device.type == "cuda"
        paths = {name: work / "examples" / f"{name}.json" for name in MIXTURE}
        contents = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items()}
        if sample:
            contents = {name: sampled(content, sample) for name, content in contents.items()}
        self.sets = {name: Collection(content, self.model, self.device) for name, content in contents.items()}
        self.pools = {name: collection.pool() for name, collection in self.sets.items()}
        self.pools["halves"] = halves(contents[HALVES], self.model, self.device)

    def train(self, setting, sets, seed, negatives=None):
        """Train from the start; the weights that learnt."""
        torch.manual_seed(seed)
        model, recipe = self.model, setting.recipe
        model.load_state_dict(self.start)
        freeze_below(model, recipe.top_layers)
        model.train()
        projections = [p for module in model if isinstance(module, Dense) for p in module.parameters()]
        optimizer = make_optimizer(model, recipe, projections, recipe.projection_rate)
        warm = math.ceil(recipe.warmup * recipe.steps)
        rate = [min((n + 1) / warm, (recipe.steps - n) / max(1, recipe.steps - warm)) for n in range(recipe.steps + 1)]
        schedule = LambdaLR(optimizer, rate.__getitem__)
        loss_of, learning = LateInteractionLoss(model, recipe), [p for p in model.parameters() if p.requires_grad]
        losses, drawn = [], batches(sets, setting, seed, negatives)
        for _ in range(recipe.steps):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                loss = loss_of(next(drawn))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, recipe.clip)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
        fifths = torch.stack(losses).split(math.ceil(recipe.steps / 5))
        print(f"  seed {seed}, loss {[round(float(part.mean()), 4) for part in fifths]}", flush=True)
        state = model.state_dict()
        return {name: state[name].clone() for name, parameter in model.named_parameters() if parameter.requires_grad}

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


def compare(bench, settings, out):
    """Train each setting on some sets, and measure it on the others; ``OUT/figures.json`` grows as it goes."""
    out.mkdir(parents=True, exist_ok=True)
    figures = {"start": measure(bench.model, bench.pools, bench.bf16)}
    print(f"start: {_mean(figures['start']):.4f} {figures['start']}", flush=True)
    for name, setting in settings.items():
        figures[name] = [_held_out(bench, setting, seed) for seed in SEEDS]
        (out / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        for share in SHARES:
            means = [_mean(found[share]) for found in figures[name]]
            print(f"{name}, share {share}: {sum(means) / len(means):.4f} {[round(m, 4) for m in means]}", flush=True)


def _held_out(bench, setting, seed):
    """{share of the mean: {set: figures without having been trained on it}}."""
    figures = {share: {} for share in SHARES}
    for held in FOLDS:
        rest = {name: collection for name, collection in bench.sets.items() if name not in held}
        weights = bench.train(setting, rest, seed)
        if setting.mined:
            weights = bench.train(setting, rest, seed, bench.mine(rest, weights, 0.5))
        chosen = {name: bench.pools[name] for name in (*held, *(["halves"] if HALVES in held else []))}
        for share, found in figures.items():
            bench.load(weights, share)
            found |= measure(bench.model, chosen, bench.bf16)
    return figures


def _mean(of_sets):
    """Of nDCG@10 with XTR."""
    return sum(xtr for xtr, _ in of_sets.values()) / len(of_sets)


def train(bench, setting, share, out):
    """All sets, the mean of three seeds and of the start; then once more with negatives that this mean finds."""
    negatives = None
    for name in ("mean", "mean-mined"):
        weights = [bench.train(setting, bench.sets, seed, negatives) for seed in SEEDS]
        mean = {key: torch.stack([each[key] for each in weights]).mean(dim=0) for key in weights[0]}
        bench.load(mean, share)
        bench.model.save_pretrained(str(out / name), create_model_card=False)
        negatives = bench.mine(bench.sets, mean, share)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("prepare", "compare", "train"):
        command = commands.add_parser(name)
        command.add_argument("--work", type=Path, required=True)
        if name == "prepare":
            command.add_argument("--data", type=Path, required=True)
            continue
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--device", default="cuda")
        command.add_argument("--setting", choices=SETTINGS, action="append", help="again for several; all of them")
        command.add_argument("--share", type=float, default=0.5, help="of what was trained in the mean with the start")
        command.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the recipes")
        command.add_argument("--sample", type=int, default=0, help="examples of each set, to try it out; all of them")
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        prepare(arguments.data, arguments.work)
        return
    changes = {name: parsed(name, value) for name, value in (change.split("=", 1) for change in arguments.set)}
    names = arguments.setting or list(SETTINGS)
    settings = {n: replace(SETTINGS[n], recipe=SETTINGS[n].recipe.but(**changes)) for n in names}
    bench = Bench(arguments.work, arguments.device, arguments.sample)
    if arguments.command == "compare":
        compare(bench, settings, arguments.out)
    else:
        train(bench, settings[names[0]], arguments.share, arguments.out)


if __name__ == "__main__":
    main()
