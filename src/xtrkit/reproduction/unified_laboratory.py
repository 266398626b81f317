"""A UR²N and what it is compared with, on test collections: trained where need be, rankings and scores kept.

What a claim costs is encoding and reranking. Rankings (``rankings/``) and the reranker's scores (``scores/``) lie in
the working directory by what they were made of, not by where: a machine with a GPU can make them, and another has only
to read them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from xtrkit.encoding.base import Encoder
from xtrkit.encoding.checkpoints import MONOT5, UR2N, UR2N_SETTINGS, content_hash, read_object, recognise
from xtrkit.encoding.default import MINI
from xtrkit.encoding.load import find_checkpoint, load_encoder
from xtrkit.errors import InputError, ModelError
from xtrkit.evaluating import measure
from xtrkit.evaluating.measuring import build_bm25, measure_bm25
from xtrkit.evaluation.bm25 import BM25
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.coverage import missing_documents
from xtrkit.evaluation.runs import Run
from xtrkit.index import Index
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.recipes import COLBERT, COLXTR, XTR, Recipe
from xtrkit.reproduction.kept import KeptScores
from xtrkit.reproduction.laboratory import ANYWHERE, Compute, Laboratory, Objective, Setting, digest
from xtrkit.reranking.exported import ExportedMonoT5
from xtrkit.reranking.load import load_reranker
from xtrkit.reranking.prompt import MAX_LENGTH
from xtrkit.retriever import Retriever

if TYPE_CHECKING:
    from xtrkit.reranking.monot5 import MonoT5
    from xtrkit.unified.model import UnifiedModel

MEASURES = ("nDCG@10", "R@100")
"""How deep rankings go follows from them: 100 documents, as many as are reranked."""
QUERIES_AT_A_TIME = 64
"""Whose documents are reranked together, and written down then."""
BATCHES: Mapping[str, int] = {"cuda": 256}
"""Texts and pairs that a device computes together; 32 where it is not named."""


@dataclass(frozen=True)
class UnifiedSetting(Setting):
    """What a UR²N and the models beside it are made with; the fields of ``Setting`` come first.

    Attributes:
        model: a T5 that generates, of which a monoT5 is trained, and its branch; a monoT5, of which the branch is
            trained; or a UR²N, which is taken as it is.
        encoder: what ColBERT and XTR are trained from; by default the model, where that is a T5.
        colbert: a ColBERT that is there already; by default one is trained.
        xtr: the same of an XTR.
        epochs: passes over the data of each training.
        batch_size: queries in a batch, but of the monoT5, which has its recipe's.
        k_train: of the branch, and of XTR.
        learning_rate: of ColBERT and XTR.
        branch_rate: of the branch.
        dim: dimensions of a token vector.
        nbits: bits a dimension of compressed indexes.
        reranker: an export of the UR²N (``xtrkit export UR2N OUT --int8``), faster on a CPU; by default the
            model itself does.
        prompt_length: most tokens of query and document together in reranking.
        nprobe: clusters that UR²N's retrieval opens for each query token. The paper says nothing of it; ColXTR's 10
            lose many of the best documents here.
    """

    model: str = ""
    seeds: tuple[int, ...] = (1,)
    batch_size: int = 24
    k_train: int = 52
    top_layers: int = 0
    learning_rate: float = 3e-4
    document_length: int = 180
    k_prime: int = 500
    queries: int = 1000
    encoder: str = ""
    colbert: str = ""
    xtr: str = ""
    reranker: str = ""
    prompt_length: int = MAX_LENGTH
    branch_rate: float = 1e-3
    dim: int = 128
    nbits: int = 2
    nprobe: int = 32

    def training(self, seed: int) -> dict[str, Any]:
        """The fields of a training recipe that follow from it."""
        return {**super().training(seed), "dim": self.dim}


class System(NamedTuple):
    """What retrieves.

    Attributes:
        name: in names of files.
        encoder: loads what encodes.
        nbits: of its index.
        recipe: how it searches.
    """

    name: str
    encoder: Callable[[], Encoder]
    nbits: int
    recipe: Recipe


class UnifiedLaboratory(Laboratory):
    """Trains, indexes and reranks what claims on UR²N ask for, below one working directory."""

    setting: UnifiedSetting
    needed: ClassVar[tuple[tuple[str, str], ...]] = (
        ("tests", "test collections (--test)"),
        ("model", "models (--model: a T5, a monoT5 or a UR²N)"),
        ("seeds", "seeds"),
    )

    def __init__(
        self,
        setting: UnifiedSetting,
        work: Path,
        tell: Callable[[str], None] = lambda text: None,
        compute: Compute = ANYWHERE,
    ) -> None:
        """Check that everything is there before anything is trained; arguments as of ``Laboratory``.

        Raises:
            InputError: there are no tests or no model, or no data to train with.
            ModelError: the model is no T5 that generates, or has no pieces for true and false.
        """
        super().__init__(setting, work, tell, compute)
        self._corpora: dict[Path, tuple[BM25, str]] = {}
        self._directory = find_checkpoint(setting.model)
        layout = recognise(self._directory)
        if layout not in (MONOT5, UR2N):
            raise ModelError(
                f"{setting.model} is of layout {layout.name}, but a UR²N is made of a T5 that generates: give one, a "
                "monoT5, or a UR²N."
            )
        if layout == MONOT5:
            if not setting.data:
                raise InputError("There are no training data (--data): only a UR²N that is there already needs none.")
            load_reranker(setting.model, device="cpu")

    def ur2n(self) -> Path:
        """The directory of the UR²N, its branch trained unless it is there."""
        if UR2N.holds(self._directory):
            return self._directory
        setting = self.setting
        chosen = {**setting.training(setting.seeds[0]), "learning_rate": setting.branch_rate, "top_layers": 1}
        return self._trained("ur2n", str(self.monot5()), UR2N_SETTINGS, **chosen, k_train=setting.k_train)

    def monot5(self) -> Path:
        """The directory of the monoT5, trained unless the model is one, or it is there."""
        if UR2N.holds(self._directory) or _reranks(self._directory):
            return self._directory
        own = {"epochs": self.setting.epochs, "seed": self.setting.seeds[0]}
        return self._trained("monot5", self.setting.model, "config.json", **own)

    def model(self, objective: Objective, seed: int | None = None, **changes: Any) -> Path:
        """The directory of a ColBERT or an XTR: given, there already, or trained."""
        given = getattr(self.setting, objective)
        return find_checkpoint(given) if given else super().model(objective, seed, **changes)

    def _start(self) -> str:
        if self.setting.encoder:
            return self.setting.encoder
        if MONOT5.holds(self._directory) and not UR2N.holds(self._directory):
            return self.setting.model
        raise InputError(
            f"What ColBERT and XTR shall be trained from isn't known, as {self.setting.model} is a UR²N already: say "
            "it with --set encoder=T5, or give the trained ones with --set colbert=DIRECTORY --set xtr=DIRECTORY."
        )

    @cached_property
    def unified(self) -> UnifiedModel:
        """The UR²N, loaded."""
        from xtrkit.unified.load import load_unified

        return load_unified(self.ur2n(), device=self._compute.device)

    @property
    def ours(self) -> System:
        """UR²N's retrieval: its vectors compressed and searched as ColXTR's, by the same authors."""
        recipe = COLXTR.but(k_prime=self.setting.k_prime, nprobe=self.setting.nprobe)
        return System("ur2n", lambda: self.unified.encoder, self.setting.nbits, recipe)

    def trained(self, objective: Objective) -> System:
        """A ColBERT or an XTR, in an index of the same kind."""
        recipe = COLBERT if objective == "colbert" else XTR

        def load() -> Encoder:
            return load_encoder(self.model(objective), device=self._compute.device)

        return System(objective, load, self.setting.nbits, recipe)

    @property
    def mini(self) -> System:
        """The encoder that comes with xtrkit, as ``xtrkit index`` and ``xtrkit search`` use it."""
        return System(MINI, load_encoder, DEFAULT_BITS, XTR)

    def words(self, test: TestCollection) -> Run:
        """BM25's best 100 of each query."""
        return measure_bm25(self._corpus(test)[0], test, MEASURES).run

    def retrieved(self, system: System, test: TestCollection) -> Run:
        """A system's best 100 of each query."""
        encoder = system.encoder()
        facts = {"encoder": encoder.identity.fingerprint, "corpus": self._corpus(test)[1], "nbits": system.nbits,
                 "recipe": vars(system.recipe)}  # fmt: skip
        kept = KeptScores(self._work / "rankings" / f"{test.path.name}-{system.name}-{digest(facts)}.jsonl")
        left = [query for query, text in test.queries.items() if not kept.of(query, text)]
        if left:
            with Retriever(self.index(system, test), encoder) as retriever:
                embeddings = self.embeddings(retriever, test)
                name = [(system.name, system.recipe)]
                (row,) = measure(retriever, test, name, MEASURES, embeddings=embeddings, advance=lambda amount: None)
            kept.add({query: (test.queries[query], dict(row.run[query])) for query in left})
        return {query: list(kept.of(query, text).items()) for query, text in test.queries.items()}

    def index(self, system: System, test: TestCollection) -> Index:
        """The compressed index of a collection, made unless it is there."""
        encoder = system.encoder()
        facts = f"{encoder.identity.fingerprint} {self._corpus(test)[1]} {system.nbits}"
        path = self._work / "indexes" / f"{test.path.name}-{system.name}-{digest(facts)}"
        if not path.exists():
            self._tell(f"indexing {test.path.name} with {Path(encoder.identity.name).name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            Retriever.create(
                path, test.path, model=encoder, nbits=system.nbits, split=False, batch_size=self._batch(encoder)
            ).close()
        return Index.open(path)

    def scores(self, runs: Sequence[Run], test: TestCollection) -> Mapping[str, Mapping[str, float]]:
        """The monoT5's scores of all documents in some rankings: {query: {document: score}}."""
        bm25, corpus = self._corpus(test)
        exported, length = self._exported, self.setting.prompt_length
        facts = f"{content_hash(self.ur2n())} {corpus}{' bf16' * self._compute.bf16}"
        facts += f" {exported.settings.files}" if exported else ""
        facts += f" {length}" if length != MAX_LENGTH else ""
        kept = KeptScores(self._work / "scores" / f"{test.path.name}-{digest(facts)}.jsonl")
        left = {query: list(dict.fromkeys(document for run in runs for document, _ in run[query]
                                          if document not in kept.of(query, text)))
                for query, text in test.queries.items()}  # fmt: skip
        left = {query: documents for query, documents in left.items() if documents}
        if left:
            self._tell(f"reranking {sum(map(len, left.values())):,} documents of {test.path.name}")
        queries = list(left)
        for first in range(0, len(queries), QUERIES_AT_A_TIME):
            kept.add(
                self._scored(bm25, test, {query: left[query] for query in queries[first : first + QUERIES_AT_A_TIME]})
            )
        return {query: kept.of(query, text) for query, text in test.queries.items()}

    def _scored(
        self, bm25: BM25, test: TestCollection, wanted: Mapping[str, Sequence[str]]
    ) -> dict[str, tuple[str, dict[str, float]]]:
        """Scores of some documents for each of some queries."""
        texts = bm25.texts_of({document for documents in wanted.values() for document in documents})
        pairs = [(query, document) for query, documents in wanted.items() for document in documents]
        if self._exported:
            return {
                query: (
                    text := test.queries[query],
                    dict(zip(names, self._exported.score(text, [texts[name] for name in names]).tolist(), strict=True)),
                )
                for query, names in wanted.items()
            }
        scores = self._reranker.score_pairs(
            [(test.queries[query], texts[document]) for query, document in pairs],
            batch_size=self._batch(self.unified.encoder),
            bf16=self._compute.bf16,
        )
        found: dict[str, tuple[str, dict[str, float]]] = {query: (test.queries[query], {}) for query in wanted}
        for (query, document), score in zip(pairs, scores.tolist(), strict=True):
            found[query][1][document] = score
        return found

    @cached_property
    def _reranker(self) -> MonoT5:
        """The monoT5 in torch."""
        if self.setting.prompt_length == MAX_LENGTH:
            return self.unified.reranker
        from xtrkit.reranking.monot5 import MonoT5

        found = load_reranker(self.ur2n(), device=self._compute.device, max_length=self.setting.prompt_length)
        assert isinstance(found, MonoT5)
        return found

    @cached_property
    def _exported(self) -> ExportedMonoT5 | None:
        """The export that reranks, if one was named."""
        if not self.setting.reranker:
            return None
        found = load_reranker(self.setting.reranker, max_length=self.setting.prompt_length)
        if not isinstance(found, ExportedMonoT5) or found.settings.source != content_hash(self.ur2n()):
            raise ModelError(
                f"{self.setting.reranker} was not exported from {self.ur2n()}: xtrkit export {self.ur2n()} OUT --int8 "
                "makes an export of it."
            )
        return found

    def _corpus(self, test: TestCollection) -> tuple[BM25, str]:
        """BM25 over a collection's texts, and a digest of these."""
        if test.path not in self._corpora:
            bm25 = build_bm25(test)
            texts = json.dumps(bm25.texts_of(bm25.ids), sort_keys=True)
            there, place = frozenset(bm25.ids), f"{test.path.name}'s corpus"
            for note in missing_documents(test.qrels, there, kind="missing_documents", place=place):
                self._tell(note.sentence)
            self._corpora[test.path] = bm25, sha256(texts.encode()).hexdigest()
        return self._corpora[test.path]

    def _batch(self, encoder: Any) -> int:
        model = getattr(encoder, "model", None)
        return 32 if model is None else BATCHES.get(model.device.type, 32)


def _reranks(directory: Path) -> bool:
    """Whether a T5 is a monoT5 already: ``xtrkit train`` made it one, or its name says so."""
    card = directory / "training.json"
    if card.is_file():
        recipe = read_object(card).get("recipe")
        return isinstance(recipe, dict) and recipe.get("architecture") == "monot5"
    # A model in the cache of the hub lies in models--castorini--monot5-base-msmarco/snapshots/….
    return any(fnmatchcase(part.lower(), "*mono*t5*") for part in (directory.name, directory.parent.parent.name))
