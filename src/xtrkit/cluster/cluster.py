"""The facade: a cluster that is searched as a retriever is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xtrkit.cluster.index import ClusterIndex
from xtrkit.cluster.places import Here, Place, place_of
from xtrkit.cluster.ray_shards import RayShards
from xtrkit.encoding.load import load_encoder, load_encoder_of
from xtrkit.errors import InputError, ModelError
from xtrkit.index import Index
from xtrkit.reranking.base import Reranker
from xtrkit.reranking.load import load_reranker
from xtrkit.retriever import Retriever


class Cluster(Retriever):
    """An index in shards: the methods of :class:`xtrkit.Retriever`, the ranking of one index."""

    _shards: RayShards | None = None

    @classmethod
    def open(  # type: ignore[override]
        cls,
        path: str | Path,
        *,
        address: str | None = None,
        model: str | None = None,
        reranker: Reranker | str | Path | None = None,
        encoder_threads: int | None = None,
        replicas: int = 1,
        cache: str | Path | None = None,
    ) -> Cluster:
        """Open a cluster that ``xtrkit cluster split`` or ``build`` made.

        Args:
            path: its directory; or, with an address, the URL that it was pushed to (:mod:`xtrkit.storage.transport`),
                from which each machine pulls its shards.
            address: where its shards run: "local" starts Ray on this machine for as long as this is open, "auto" or an
                address joins one that runs; None searches all shards in this process, without Ray.
            model: as in :meth:`xtrkit.Retriever.open`.
            reranker: as there.
            encoder_threads: as there.
            replicas: processes of each shard, where an address is given: searches take turns, and go on where one died.
            cache: where machines keep what they pull from a URL; by default a folder among the user's caches.

        Raises:
            IndexFormatError: there is no cluster, or a shard is missing, of another generation or of another codec.
            InputError: no Ray answers at the address.
            MissingExtraError: Ray isn't installed, or too old.
        """
        place = place_of(path, cache)
        check_place(place, address)  # before a model is loaded
        loaded: Any = load_reranker(reranker) if isinstance(reranker, str | Path) else reranker
        shards = None if address is None else RayShards(place, address, replicas)
        try:
            index = Index.open(place.path) if shards is None else ClusterIndex(place, shards.at)
            if index.encoder is None and model is None:
                raise ModelError(f"The cluster at {path} was made of embeddings: pass the model that made them.")
            encoder = (
                load_encoder(str(model), threads=encoder_threads)
                if index.encoder is None
                else load_encoder_of(index.encoder, model, threads=encoder_threads)
            )
        except BaseException:
            if shards is not None:
                shards.close()
            raise
        opened = cls(index, encoder, reranker=loaded)
        opened._shards = shards
        return opened

    def close(self) -> None:
        """Close the index; actors and a Ray that were started for it end."""
        super().close()
        if self._shards is not None:
            self._shards.close()


def check_place(place: Place, address: str | None) -> None:
    """Look whether a cluster can be opened, before any process is started.

    Args:
        place: where it lies.
        address: of the Ray that shall have its shards; None without one.

    Raises:
        IndexFormatError: there is no cluster, or a shard is missing, of another generation or of another codec.
        InputError: it is in a store, and there is no Ray to pull it.
        StorageError: it can't be reached.
    """
    if address is None and not isinstance(place, Here):
        raise InputError(f"{place.where} is in a store: pull it (xtrkit pull) and open that, or give a Ray's address.")
    place.pin().close()
