"""What a server is told when it starts: one frozen value, which travels to worker processes as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from xtrkit.errors import InputError
from xtrkit.machine import usable_cores


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and how long it may take.

    Attributes:
        k: passages of one answer.
        depth: ``offset`` + ``k``, how deep an answer may look.
        queries: queries of one request.
        query_characters: characters of one query.
        texts: texts to rerank or to encode in one request.
        ids: ids of one request: of a subset, to delete.
        documents: documents that one request adds.
        inline_documents, inline_characters: requests that add more are answered with a job, and committed alone.
        changes, waiting_characters: changes that wait, and the characters of what they add; beyond, they are refused.
        job_seconds: how long a job waits for another writer of the index.
        search_bytes: bytes of a request's body.
        write_bytes: bytes of the body of one that adds documents.
        json_depth: lists and objects of a body inside one another.
        header_bytes: bytes of a request's line and headers.
        header_seconds: from a request's first byte to the end of its headers.
        body_seconds: how long a body may take beside a second for each ``body_pace`` bytes of it.
        body_pace: bytes a second.
        deadline_seconds: how long a request may wait and work before it is told that it took too long.
        write_seconds: how long an answer may wait for a client that does not read.
        streams: clients that follow jobs, in each process.
        connections: open at a time in each process.
        queue: requests that wait for a thread; beyond these they are refused.
        stop_seconds: how long requests at work may take to finish when the server stops.
    """

    k: int = 1_000
    depth: int = 10_000
    queries: int = 64
    query_characters: int = 8_192
    texts: int = 1_000
    ids: int = 10_000
    documents: int = 10_000
    inline_documents: int = 128
    inline_characters: int = 200_000
    changes: int = 256
    waiting_characters: int = 64_000_000
    job_seconds: float = 600.0
    search_bytes: int = 1 << 20
    write_bytes: int = 32 << 20
    json_depth: int = 32
    header_bytes: int = 32 << 10
    header_seconds: float = 3.0
    body_seconds: float = 3.0
    body_pace: int = 16 << 10
    deadline_seconds: float = 30.0
    write_seconds: float = 30.0
    streams: int = 64
    connections: int = 512
    queue: int = 64
    stop_seconds: float = 10.0


@dataclass(frozen=True)
class Settings:
    """What is served, how, and to whom.

    Attributes:
        indexes: directories of the indexes, with an address also URLs that clusters were pushed to; each is served
            under the last part of its path.
        host, port: the address; port 0 is any that is free.
        read_key_file: a file whose one line is the key that requests must bring; without it everybody may read.
        write_key_file: the same for requests that change an index; without it nobody may.
        allow_public: listen on an address that other machines reach without a read key.
        allow_hosts: names under which browsers may ask, where there is no read key.
        allow_origins: pages of which other sites may ask from a browser (CORS).
        workers: processes.
        threads: searches at a time in each process; as many as there are cores by default.
        address: of the Ray on which the shards of the indexes run, which are clusters then; None searches all of an
            index in each process.
        replicas: processes of each shard there.
        cache: where machines keep what they pull of clusters that URLs name; None for a folder among the user's caches.
        model: where the indexes' encoder lies, if it has moved.
        reranker: a model that scores the best passages again where a request asks for it.
        log_queries: whether the log has the queries' texts.
        jobs: a directory in which worker processes tell one another how jobs go on; None for one of its own.
        limits: what a request may ask for.
    """

    indexes: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    read_key_file: str | None = None
    write_key_file: str | None = None
    allow_public: bool = False
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    workers: int = 1
    threads: int = field(default_factory=usable_cores)
    address: str | None = None
    replicas: int = 1
    cache: str | None = None
    model: str | None = None
    reranker: str | None = None
    log_queries: bool = False
    jobs: str | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        indexes = tuple(str(index if "://" in index else Path(index).absolute()) for index in self.indexes)
        object.__setattr__(self, "indexes", indexes)
        if not self.indexes:
            raise InputError("There is nothing to serve: name at least one index.")
        names = [Path(index).name for index in self.indexes]
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"Two indexes would be served as {name!r}, the last part of their paths: rename one directory."
                )

    @property
    def names(self) -> dict[str, str]:
        """{name: directory or URL} of the indexes."""
        return {Path(index).name: index for index in self.indexes}

    def as_json(self) -> str:
        """All of it, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> Settings:
        """What :meth:`as_json` wrote."""
        told = json.loads(text)
        lists = {name: tuple(told[name]) for name in ("indexes", "allow_hosts", "allow_origins")}
        return cls(**{**told, **lists, "limits": Limits(**told["limits"])})
