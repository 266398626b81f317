"""``Indexer``: a collection into an index, named below the run's folder of indexes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from xtrkit.compat.colbert.data import Collection
from xtrkit.compat.colbert.infra import ColBERTConfig, Run
from xtrkit.encoding.load import load_encoder
from xtrkit.errors import IndexExistsError, InputError
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.retriever import Retriever
from xtrkit.storage.generations import generations

OVERWRITE = (True, False, "reuse", "resume", "force_silent_overwrite")
SILENT = 1
"""``verbose`` up to which no progress is shown."""


class Indexer:
    """Indexes collections with one checkpoint."""

    def __init__(self, checkpoint: str | Path, config: ColBERTConfig | None = None, verbose: int = 3) -> None:
        """Take a checkpoint; it is loaded when a collection is indexed.

        Args:
            checkpoint: as :func:`xtrkit.load_encoder` takes it: "default", a directory, a name on the hub.
            config: settings; those of the present run go before them.
            verbose: up to 1 shows no progress.
        """
        self.checkpoint, self.verbose = str(checkpoint), verbose
        self.config = ColBERTConfig.from_existing(config, Run().config)
        self.configure(checkpoint=self.checkpoint)
        self.index_path: str | None = None

    def configure(self, **settings: Any) -> None:
        """Set settings, as :meth:`xtrkit.compat.colbert.infra.RunConfig.configure`."""
        self.config.configure(**settings)

    def get_index(self) -> str | None:
        """Where the index lies; None before there is one."""
        return self.index_path

    def index(self, name: str, collection: Any, overwrite: bool | str = False) -> str:
        """Encode a collection, and index it.

        Texts longer than ``doc_maxlen``, or than the model's window, are cut off, as in ColBERT; a warning tells how
        many. ``nbits`` is xtrkit's 4 unless it was given.

        Args:
            name: of the index.
            collection: the path of a .tsv file, a list of texts, or a :class:`Collection`.
            overwrite: True and "force_silent_overwrite" replace an index of that name, at once; "reuse" leaves it as
                it is; False and "resume" do not replace it. A build that was stopped goes on either way.

        Returns:
            where the index lies.

        Raises:
            IndexExistsError: there is an index of that name, and it shall stay; or something that is no index.
            InputError: there is no name, or a passage can't be indexed; nothing is left behind.
        """
        if overwrite not in OVERWRITE:
            raise InputError(f"overwrite is one of {', '.join(map(repr, OVERWRITE))}, got {overwrite!r}.")
        if not isinstance(name, str) or not name:
            raise InputError(f"An index has a name, got {name!r}.")
        self.configure(index_name=name)
        path = Path(self.config.index_path_).absolute()
        if overwrite == "reuse" and path.is_dir() and generations(path):
            self.index_path = str(path)
            return self.index_path
        if overwrite in (False, "resume") and path.exists():
            raise IndexExistsError(f"There is something at {path}: name another index, or pass overwrite=True.")
        passages = Collection.cast(collection)
        encoder = load_encoder(
            self.checkpoint, query_length=self.config.query_maxlen, document_length=self.config.doc_maxlen
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Retriever.create(
            path,
            ((str(pid), text) for pid, text in enumerate(passages)),
            model=encoder,
            nbits=self.config.nbits or DEFAULT_BITS,
            pool_factor=self.config.pool_factor,
            split=False,
            overwrite=overwrite is not False,
            batch_size=self.config.index_bsize,
            progress=self.verbose > SILENT,
        ).close()
        self.index_path = str(path)
        return self.index_path

    def erase(self, force_silent: bool = False) -> list[str]:
        """Remove the index, at once; return its files.

        Args:
            force_silent: ColBERT waits for 20 seconds without it; here nothing waits.

        Raises:
            InputError: there is none yet.
        """
        path = None if self.index_path is None else Path(self.index_path)
        if path is None or not path.is_dir() or not generations(path):
            raise InputError("There is no index to erase: make one with index(name, collection).")
        files = sorted(str(file) for file in path.iterdir())
        shutil.rmtree(path)
        return files
