"""``Run``, ``RunConfig`` and ``ColBERTConfig``: where indexes lie, and how they are made and searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, Self

from xtrkit.compat.saying import without_meaning
from xtrkit.errors import InputError

_TRAINING = "models are trained with xtrkit train"
_CHECKPOINT = "the checkpoint says it"
_CLUSTERS = "xtrkit finds clusters in its own way"
_PROCESS = "one process does it, on all cores"
_POOLING = "pool_factor pools hierarchically, and what the checkpoint puts before a text stays apart"

RUN: dict[str, Any] = {
    "overwrite": False, "root": None, "experiment": "default", "index_root": None, "name": "run", "rank": 0,
    "nranks": 1, "amp": True, "gpus": 0, "total_visible_gpus": 0, "avoid_fork_if_possible": False,
}  # fmt: skip
"""{setting of a run: its usual value}"""
OF_COLBERT: dict[str, Any] = RUN | {
    "checkpoint": None, "collection": None, "queries": None, "triples": None, "index_name": None, "index_path": None,
    "nbits": None, "index_bsize": 32, "doc_maxlen": None, "query_maxlen": None, "ncells": None, "ndocs": None,
    "resume": False, "load_index_with_mmap": True,
    "centroid_score_threshold": None, "kmeans_niters": 4, "interaction": "colbert", "similarity": "cosine",
    "dim": None, "mask_punctuation": True, "attend_to_mask_tokens": False, "query_token": "[Q]", "doc_token": "[D]",
    "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "pool_factor": 1, "clustering_mode": "hierarchical",
    "protected_tokens": 0,
    "bsize": None, "accumsteps": 1, "lr": None, "maxsteps": None, "save_every": None, "warmup": None,
    "warmup_bert": None, "relu": False, "nway": None, "use_ib_negatives": None, "reranker": False,
    "distillation_alpha": None, "ignore_scores": False, "model_name": None,
}  # fmt: skip
"""{setting of ColBERT: its usual value}; None is xtrkit's, or the checkpoint's."""
WITHOUT_MEANING = {
    **dict.fromkeys(("rank", "nranks", "gpus", "total_visible_gpus", "avoid_fork_if_possible"), _PROCESS),
    "amp": "encoders compute in their own precision",
    "load_index_with_mmap": "indexes are always memory-mapped",
    "centroid_score_threshold": "no cluster is left out for its score",
    "kmeans_niters": _CLUSTERS,
    **dict.fromkeys(
        ("interaction", "similarity", "dim", "mask_punctuation", "attend_to_mask_tokens", "query_token", "doc_token",
         "query_token_id", "doc_token_id"), _CHECKPOINT,
    ),
    **dict.fromkeys(("clustering_mode", "protected_tokens"), _POOLING),
    **dict.fromkeys(
        ("triples", "queries", "bsize", "accumsteps", "lr", "maxsteps", "save_every", "warmup", "warmup_bert", "relu",
         "nway", "use_ib_negatives", "reranker", "distillation_alpha", "ignore_scores", "model_name"), _TRAINING,
    ),
}  # fmt: skip
"""Settings that change nothing here, and why."""


class RunConfig:
    """Where a run's files lie: below ``root/experiment``.

    Every setting is an attribute; what was not given has its usual value. Settings that have no meaning here are taken,
    and a warning says so once.

    Attributes:
        assigned: {setting: value} of those that were given.
    """

    settings: Mapping[str, Any] = RUN

    def __init__(self, **given: Any) -> None:
        """Take settings.

        Raises:
            InputError: one is unknown.
        """
        self.assigned: dict[str, Any] = {}
        self.configure(**given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in type(self).settings:
            raise AttributeError(f"{type(self).__name__} has no setting {name!r}.")
        value = self.assigned.get(name, type(self).settings[name])
        return str(Path.cwd() / "experiments") if name == "root" and value is None else value

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.assigned.items())
        return f"{type(self).__name__}({given})"

    @classmethod
    def from_existing(cls, *sources: RunConfig | None) -> Self:
        """The settings that were given to others, the last one's where several have one."""
        given = {name: value for source in sources if source is not None for name, value in source.assigned.items()}
        return cls(**{name: value for name, value in given.items() if name in cls.settings})

    def configure(self, **given: Any) -> None:
        """Set settings.

        Raises:
            InputError: one is unknown.
        """
        for name, value in given.items():
            self.set(name, value)

    def set(self, name: str, value: Any) -> None:
        """Set a setting.

        Raises:
            InputError: it is unknown.
        """
        if name not in type(self).settings:
            raise InputError(
                f"Unknown setting {name!r} of {type(self).__name__}: there are {', '.join(self.settings)}."
            )
        if name in WITHOUT_MEANING:
            without_meaning(name, value, type(self).settings[name], WITHOUT_MEANING[name])
        self.assigned[name] = value

    def export(self) -> dict[str, Any]:
        """Every setting with its value."""
        return {name: getattr(self, name) for name in type(self).settings}

    @property
    def index_root_(self) -> str:
        """The folder of indexes."""
        return str(self.index_root or Path(self.root, self.experiment, "indexes"))

    @property
    def path_(self) -> str:
        """The folder of what a run writes."""
        return str(Path(self.root, self.experiment, self.name))


class ColBERTConfig(RunConfig):
    """As :class:`RunConfig`, with how indexes are made and searched.

    Of these count here: ``nbits``, ``pool_factor``, ``doc_maxlen``, ``query_maxlen``, ``index_bsize``, and for searches
    ``ncells`` (as xtrkit's nprobe) and ``ndocs`` (as its candidates).
    """

    settings = OF_COLBERT

    @property
    def index_path_(self) -> str:
        """Where the index lies."""
        return str(self.index_path or Path(self.index_root_, str(self.index_name)))


_STACK: ContextVar[tuple[RunConfig, ...]] = ContextVar("xtrkit_colbert_runs", default=(RunConfig(),))


class Run:
    """The present run: ``with Run().context(RunConfig(experiment="notebook")): …``. Settings are its attributes."""

    @property
    def config(self) -> RunConfig:
        """Its settings."""
        return _STACK.get()[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)

    @contextmanager
    def context(self, runconfig: RunConfig, inherit_config: bool = True) -> Iterator[None]:
        """Use other settings for a while.

        Args:
            runconfig: they.
            inherit_config: what they leave out is as it was.
        """
        config = RunConfig.from_existing(self.config, runconfig) if inherit_config else runconfig
        token = _STACK.set((*_STACK.get(), config))
        try:
            yield
        finally:
            _STACK.reset(token)

    def open(self, path: str, mode: str = "r") -> IO[Any]:
        """Open a file of the run, below its folder unless the path is absolute.

        Raises:
            InputError: it is there already, is to be written, and the run does not overwrite.
        """
        place = Path(self.config.path_, path)
        if "w" in mode or "a" in mode:
            if place.exists() and not self.config.overwrite:
                raise InputError(f"{place} is there already: use another name, or RunConfig(overwrite=True).")
            place.parent.mkdir(parents=True, exist_ok=True)
        return place.open(mode, encoding=None if "b" in mode else "utf-8")
