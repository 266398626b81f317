"""Opening what is searched: an index, or a cluster whose shards run on Ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xtrkit.errors import InputError

if TYPE_CHECKING:
    from xtrkit.cli.options import Loading
    from xtrkit.retriever import Retriever


def open_retriever(index: Path, opening: Loading, address: str | None, reranker: str | None = None) -> Retriever:
    """The retriever that a command was told to open.

    Raises:
        InputError: it was told a device and an address.
    """
    from xtrkit.retriever import Retriever

    if address is None:
        return Retriever.open(index, model=opening.model, reranker=reranker, device=opening.device)
    if opening.device is not None:
        raise InputError("Shards on Ray are searched on CPUs: leave out --device, or --address.")
    from xtrkit.cluster.cluster import Cluster

    return Cluster.open(index, address=address, model=opening.model, reranker=reranker)
