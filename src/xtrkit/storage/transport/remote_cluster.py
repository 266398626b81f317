"""A cluster in a store, as a coordinator needs it: its manifests and its codec, no token and no text."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import IndexFormatError
from xtrkit.storage.manifest import Manifest
from xtrkit.storage.shards import ClusterManifest
from xtrkit.storage.transport import Transfer
from xtrkit.storage.transport.arriving import Arriving
from xtrkit.storage.transport.pulling import bytes_of, cached, head_of, manifest_of
from xtrkit.storage.transport.store import Remote


def read_remote_cluster(url: str, generation: int | None = None) -> ClusterManifest:
    """The manifest of a cluster in a store.

    Args:
        url: the place.
        generation: which one; None is the newest.

    Raises:
        IndexDamagedError: it is not what was pushed.
        IndexFormatError: there is no cluster, or one of a newer xtrkit.
        InputError: there is no such generation, or the URL can't be used.
        MissingExtraError: what speaks to the store isn't installed.
        StorageError: the store can't be reached.
    """
    return _cluster_at(Remote(url), generation)


class RemoteShard(NamedTuple):
    """What is known of a shard in a store.

    Attributes:
        directory: where the codec's file lies, here.
        manifest: that of its generation.
    """

    directory: Path
    manifest: Manifest


class RemotePin:
    """A generation of a cluster in a store, as :class:`~xtrkit.storage.shards.ClusterPin` is one in a directory.

    Attributes:
        directory: where the codec's file lies, here, under the name that the manifest gives it.
        cluster: the cluster's manifest.
        manifest: what the generation holds, as if it were one index.
        pins: the shards, in order.
        size: bytes that it takes.
    """

    def __init__(self, url: str, cache: str | Path, generation: int | None = None) -> None:
        """Read the manifests, and bring the codec into a cache of this machine.

        Args:
            url: the place that the cluster was pushed to.
            cache: as for :func:`~xtrkit.storage.transport.pulling.pull_shard`.
            generation: which one; None is the newest.

        Raises:
            IndexDamagedError: something is not what was pushed, or is missing in the store.
            IndexFormatError: there is no cluster, or one of a newer xtrkit.
            InputError: there is no such generation, or the URL can't be used.
            MissingExtraError: what speaks to the store isn't installed.
            StorageError: the store can't be reached, or the disk refused.
        """
        remote = Remote(url)
        self.cluster = cluster = _cluster_at(remote, generation)
        self.directory = cached(cache, url) / "codec"
        found = [manifest_of(remote, shard) for shard in cluster.shards]
        self.pins = [RemoteShard(self.directory, manifest) for _, manifest in found]
        self.size = bytes_of([manifest for _, manifest in found]) + sum(len(content) for content, _ in found)
        first = self.pins[0].manifest
        segments = tuple(segment for pin in self.pins for segment in pin.manifest.segments)
        self.manifest = Manifest(
            cluster.generation, cluster.created_by, first.properties, first.codec, segments, cluster.sources
        )
        if first.codec is not None:
            arriving = Arriving(remote, Transfer(cluster.generation))
            with arriving.changing(self.directory):
                arriving.file(self.directory, first.codec)

    def directories(self) -> list[Path]:
        """Where the codec of each segment is."""
        return [self.directory] * len(self.manifest.segments)

    def close(self) -> None:
        """Do nothing: what is in a store stays."""


def _cluster_at(remote: Remote, generation: int | None) -> ClusterManifest:
    made = head_of(remote, generation).made
    if isinstance(made, Manifest):
        raise IndexFormatError(f"{remote.url} has an index, no cluster: pull it (xtrkit pull), and open that.")
    return made
