"""Two of the XTR paper's claims at a small scale: Table 5 (imputation × objective), Figure 4 (tokens that are found).

    python benchmarks/claims.py --data TRAINING_FOLDER --test TEST_FOLDER --work DIR --seeds 1 2 3

trains one model with each objective for each seed, from the same backbone, data and budget, indexes the test collection
with each, and prints how they score with every imputation, and how often the token of rank r is in a relevant document
(top of Figure 4) and is the query token itself (bottom). Whatever was trained or indexed already is used again.
"""

import argparse
from pathlib import Path

import numpy as np

from xtrkit import Recipe, Retriever, load_encoder
from xtrkit.evaluating import measure
from xtrkit.evaluation.beir import read_test_collection
from xtrkit.training import train

IMPUTATIONS = ("none", "0", "0.2", "min")
RANKS = (1, 2, 5, 10, 20, 50, 100)


def model_of(objective, seed, arguments):
    """Directory of the model of an objective and a seed, trained unless it is there."""
    path = arguments.work / f"{objective}-{seed}"
    if not (path / "modules.json").is_file():
        budget = {"epochs": arguments.epochs, "batch_size": arguments.batch, "top_layers": arguments.top_layers}
        train(
            objective, arguments.model, arguments.data, path, seed=seed, cache=arguments.work / "activations",
            overwrite=path.exists(), **budget,
        )  # fmt: skip
    return path


def retriever_of(model, arguments):
    """The test collection indexed with a model."""
    path = arguments.work / f"{model.name}-index"
    if not path.exists():
        Retriever.create(path, Path(arguments.test), model=load_encoder(model), nbits=16, split=False, progress=True)
    return Retriever.open(path)


def table_5(retriever, test, arguments):
    """nDCG@10 and R@100 of each imputation."""
    systems = [(name, Recipe(k_prime=arguments.k_prime, imputation=name)) for name in IMPUTATIONS]
    embeddings = retriever.encode_queries(list(test.queries.values()))
    rows = measure(retriever, test, systems, ["nDCG@10", "R@100"], embeddings=embeddings, advance=lambda amount: None)
    return np.array([[row.measures["nDCG@10"], row.measures["R@100"]] for row in rows])


def figure_4(retriever, test):
    """(2, ranks) how often a token is of a relevant document, and how often it is the query token's own piece."""
    index, encoder = retriever.index, retriever.encoder
    ids = list(index.ids())
    vectors = np.concatenate([index.vectors(number) for number in range(len(index))]).astype(np.float32)
    owner = np.repeat(np.arange(len(index)), np.diff(index.document_offsets))
    pieces = np.array([t.piece for n in range(len(index)) for t in encoder.document_tokens(index.passage(n)[1])])
    found = np.zeros((2, max(RANKS)))
    total = 0
    for query, text in test.queries.items():
        relevant = np.isin(owner, [n for n, name in enumerate(ids) if test.qrels[query].get(name, 0) > 0])
        rows = retriever.encode_queries([text])[0]
        for row, token in zip(rows, encoder.query_tokens(text), strict=True):
            similarities = vectors @ row
            best = np.argpartition(-similarities, max(RANKS))[: max(RANKS)]
            best = best[np.argsort(-similarities[best])]
            found += np.stack([relevant[best], pieces[best] == token.piece])
            total += 1
    return found[:, np.array(RANKS) - 1] / total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--top-layers", type=int, default=2)
    parser.add_argument("--k-prime", type=int, default=1000)
    parser.add_argument("--figure-4", action="store_true", help="of the first seed; looks at every token")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    test = read_test_collection(arguments.test)
    curves = {}
    print(f"{'objective':10} " + " ".join(f"{'m = ' + name:>18}" for name in IMPUTATIONS) + "   (nDCG@10 R@100)")
    for objective in ("colbert", "xtr"):
        tables = []
        for seed in arguments.seeds:
            with retriever_of(model_of(objective, seed, arguments), arguments) as retriever:
                tables.append(table_5(retriever, test, arguments))
                if arguments.figure_4 and seed == arguments.seeds[0]:
                    curves[objective] = figure_4(retriever, test)
        cells = [f"{ndcg:.4f} {recall:.4f}".rjust(18) for ndcg, recall in np.mean(tables, axis=0)]
        print(f"{objective:10} " + " ".join(cells), flush=True)
    for name, place in (("in a relevant document", 0), ("the same piece", 1)) if curves else ():
        print(f"\nrank: {name}\n{'':10} " + " ".join(f"{rank:>6}" for rank in RANKS))
        for objective, curve in curves.items():
            print(f"{objective:10} " + " ".join(f"{value:6.3f}" for value in curve[place]))


if __name__ == "__main__":
    main()
