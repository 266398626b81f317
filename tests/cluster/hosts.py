"""Shards in this process, as a coordinator asks them."""

from xtrkit.cluster.engine import InProcess
from xtrkit.cluster.host import ShardHost


def hosts_here(path, cluster):
    """The shards of a generation of a cluster."""
    return InProcess([ShardHost(path / shard.name, shard) for shard in cluster.shards])
