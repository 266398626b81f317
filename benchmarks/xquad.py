"""XQuAD in several languages, and questions in one language about passages in another: nDCG@10 and R@10.

    python benchmarks/xquad.py --data DATASETS --model xtrkit-multi --out xquad.json

DATASETS holds ``xquad-en``, ``xquad-de``, …: BEIR folders whose ids agree, 240 passages and 1,190 questions each.
Beside BM25 (of each language by itself) there are exact vectors and 4 bits, scored as XTR and as MaxSim.
"""

import argparse
import json
import tempfile
from pathlib import Path

from xtrkit.encoding import load_encoder
from xtrkit.evaluation.beir import open_corpus, read_test_collection
from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.measures import evaluate
from xtrkit.index import Index
from xtrkit.recipes import COLBERT, XTR

MEASURES = ["nDCG@10", "R@10"]
RECIPES = {"xtr": XTR, "maxsim": COLBERT}


def measured(qrels, run):
    """{measure: figure} of a run."""
    return {name: round(value, 4) for name, value in evaluate(run, qrels, MEASURES).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="xtrkit-multi")
    parser.add_argument("--languages", nargs="+", default=["en", "de", "es", "zh"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--no-bm25", action="store_true")
    arguments = parser.parse_args()
    encoder, rows, asked, corpora = load_encoder(arguments.model), [], {}, {}

    def tell(**row):
        rows.append(row)
        print(row, flush=True)
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    for language in arguments.languages:
        folder = arguments.data / f"xquad-{language}"
        corpora[language], asked[language] = list(open_corpus(folder)), read_test_collection(folder)
    questions = {
        language: encoder.encode_queries(list(test.queries.values()), batch_size=64) for language, test in asked.items()
    }
    nprobe = encoder.nprobe  # what an index of texts would go by
    for language, corpus in corpora.items():
        ids, texts = [passage.id for passage in corpus], [passage.text or "" for passage in corpus]
        documents = list(encoder.encode_documents(texts))
        test = asked[language]
        if not arguments.no_bm25:
            found = BM25(corpus).search(test.queries, 10)
            tell(questions=language, passages=language, system="bm25", **measured(test.qrels, found))
        for nbits in (16, 4):
            with (
                tempfile.TemporaryDirectory() as folder,
                Index.create(Path(folder) / "index", [documents], nbits=nbits) as index,
            ):
                for other in sorted({language, "en"}):
                    for scoring, recipe in RECIPES.items():
                        rankings = index.search_batch(list(questions[other]), 10, recipe=recipe.at(None, nprobe))
                        run = {
                            name: [(ids[int(place)], score) for place, score in ranking]
                            for name, ranking in zip(asked[other].queries, rankings, strict=True)
                        }
                        told = {"questions": other, "passages": language, "system": scoring, "nbits": nbits}
                        tell(**told, **measured(test.qrels, run))


if __name__ == "__main__":
    main()
