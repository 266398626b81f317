"""Clusters and indexes from one machine to another: pushed to a store that a URL names, and pulled from it.

``store`` speaks to it through fsspec, ``pushing`` copies there what is missing, ``arriving`` hashes what comes from it,
``pulling`` makes directories of that, and ``remote_cluster`` is what a coordinator needs of a cluster that it has no
directory of. A transfer that was cut off leaves nothing that could be taken for an index, and the next goes on where it
was; a new generation costs its new files alone.
"""

from typing import NamedTuple

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)


class Transfer(NamedTuple):
    """What a push or a pull did.

    Attributes:
        generation: of the cluster or the index.
        shards: names of the shards that it was about; none for an index.
        copied, copied_bytes: files that were copied, manifests among them.
        kept, kept_bytes: files that were there already.
    """

    generation: int
    shards: tuple[str, ...] = ()
    copied: int = 0
    copied_bytes: int = 0
    kept: int = 0
    kept_bytes: int = 0

    def and_a_file(self, size: int, *, copied: bool) -> "Transfer":
        """This, and one file more."""
        if copied:
            return self._replace(copied=self.copied + 1, copied_bytes=self.copied_bytes + size)
        return self._replace(kept=self.kept + 1, kept_bytes=self.kept_bytes + size)
