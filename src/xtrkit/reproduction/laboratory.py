"""Models that were trained alike but for what a claim is about, and test collections indexed with them.

Whatever was trained or indexed before, with the same setting, is used again: a claim that needs the models of another
one costs only its own searches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from xtrkit.encoding.load import load_encoder
from xtrkit.errors import InputError
from xtrkit.evaluating import IndexedDocuments
from xtrkit.evaluation.beir import read_test_collection
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.coverage import missing_documents
from xtrkit.retriever import Retriever
from xtrkit.training import train
from xtrkit.values import Ragged

Objective = Literal["xtr", "colbert"]
OBJECTIVES: tuple[Objective, Objective] = ("colbert", "xtr")
LABELS: Mapping[Objective, str] = {"colbert": "trained as ColBERT", "xtr": "trained as XTR"}


@dataclass(frozen=True)
class Setting:
    """What the models of both objectives have in common.

    Attributes:
        data: what is learnt from, as ``xtrkit train --data`` takes it.
        tests: BEIR folders; the first is the one that token analyses look at.
        model: what training starts from.
        seeds: a model of each objective for each.
        epochs: passes over the data.
        batch_size: queries in a batch.
        k_train: XTR's, but where a claim is about it.
        top_layers: how many upper layers of the model are learnt; 0 learns all.
        learning_rate: of the peak.
        query_length: most tokens of a query, in training and testing.
        document_length: the same of a document.
        k_prime: k' where a claim is not about it.
        queries: most test queries of a collection; the first ones.
    """

    data: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    model: str = "all-MiniLM-L6-v2"
    seeds: tuple[int, ...] = (1, 2, 3)
    epochs: int = 1
    batch_size: int = 64
    k_train: int = 64
    top_layers: int = 2
    learning_rate: float = 1e-4
    query_length: int = 32
    document_length: int = 128
    k_prime: int = 1000
    queries: int = 300

    def but(self, **choices: Any) -> Self:
        """This setting with some fields changed.

        Raises:
            InputError: a name is not a field.
        """
        fields = self.__dataclass_fields__
        unknown = sorted(set(choices) - set(fields))
        if unknown:
            raise InputError(f"Unknown choice {unknown[0]!r}: there are {', '.join(fields)}.")
        lists = {name: tuple(value) for name, value in choices.items() if isinstance(value, list)}
        return replace(self, **{**choices, **lists})

    def training(self, seed: int) -> dict[str, Any]:
        """The fields of a training recipe that follow from it."""
        names = ("epochs", "batch_size", "top_layers", "learning_rate", "query_length", "document_length")
        return {**{name: getattr(self, name) for name in names}, "seed": seed}


class Compute(NamedTuple):
    """Where and how models compute; no part of a setting, as figures should not depend on it.

    Attributes:
        device: "cpu", "cuda", …; None is what torch finds.
        bf16: train and rerank in bfloat16.
    """

    device: str | None = None
    bf16: bool = False


ANYWHERE = Compute()


class Laboratory:
    """Trains and indexes what claims ask for, below one working directory.

    Attributes:
        setting: what all models have in common.
        tests: the test collections.
    """

    setting: Setting
    needed: ClassVar[tuple[tuple[str, str], ...]] = (
        ("data", "training data (--data)"),
        ("tests", "test collections (--test)"),
        ("seeds", "seeds"),
    )

    def __init__(
        self,
        setting: Setting,
        work: Path,
        tell: Callable[[str], None] = lambda text: None,
        compute: Compute = ANYWHERE,
    ) -> None:
        """Check that everything is there before anything is trained.

        Args:
            setting: what all models have in common.
            work: where models and indexes are kept.
            tell: called with a line before each long piece of work.
            compute: where and how models compute.

        Raises:
            InputError: there are no data, tests or seeds, or they can't be read.
        """
        for name, what in self.needed:
            if not getattr(setting, name):
                raise InputError(f"There are no {what}: a claim needs at least one.")
        self.setting, self._work, self._tell, self._compute = setting, work, tell, compute
        self.tests = [_cut(read_test_collection(path), setting.queries) for path in setting.tests]
        for test in self.tests:
            for note in test.notes:
                tell(f"{test.path.name}: {note.sentence}")

    def model(self, objective: Objective, seed: int | None = None, **changes: Any) -> Path:
        """The directory of a model, trained unless it is there; ``changes`` are fields of its training recipe."""
        chosen = {**self.setting.training(self.setting.seeds[0] if seed is None else seed), **changes}
        if objective == "xtr":
            chosen.setdefault("k_train", self.setting.k_train)
        return self._trained(objective, self._start(), "modules.json", **chosen)

    def _start(self) -> str:
        """What the models of both objectives are trained from."""
        return self.setting.model

    def _trained(self, recipe: str, model: str, mark: str, **chosen: Any) -> Path:
        """The directory of a model, trained unless the file ``mark`` is in it."""
        facts = {"objective": recipe, "model": model, "data": self.setting.data, **chosen}
        path = self._work / "models" / f"{recipe}-{digest(facts)}"
        if not (path / mark).is_file():
            if not self.setting.data:
                raise InputError(f"There are no training data (--data), and {recipe} is to be trained: give some.")
            self._tell(f"training {recipe} ({', '.join(f'{name} {value}' for name, value in chosen.items())})")
            cache = self._work / "activations" if chosen.get("top_layers") else None
            how = {"dev": None, "cache": cache, "overwrite": path.exists(), **self._compute._asdict()}
            train(recipe, model, list(self.setting.data), path, **how, **chosen)
        return path

    def retriever(self, model: Path, test: TestCollection) -> Retriever:
        """A test collection's corpus in an exact index of a model's vectors."""
        path = self._work / "indexes" / f"{model.name}-{digest(str(test.path.resolve()))}"
        if not path.exists():
            self._tell(f"indexing {test.path.name} with {model.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            encoder = load_encoder(model, device=self._compute.device)
            with Retriever.create(path, test.path, model=encoder, nbits=16, split=False) as made:
                there = IndexedDocuments.of(made.index).ids
            for note in missing_documents(
                test.qrels, there, kind="missing_documents", place=f"{test.path.name}'s corpus"
            ):
                self._tell(note.sentence)
        return Retriever.open(path)

    def embeddings(self, retriever: Retriever, test: TestCollection) -> Ragged:
        """Token embeddings of the test queries, in their order."""
        return retriever.encode_queries(list(test.queries.values()))


def _cut(test: TestCollection, most: int) -> TestCollection:
    kept = list(test.qrels)[:most]
    queries = {query: test.queries[query] for query in test.queries if query in set(kept)}
    return replace(test, queries=queries, qrels={query: test.qrels[query] for query in kept})


def digest(facts: dict[str, Any] | str) -> str:
    """A short name for facts: equal ones have equal names."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:10]
