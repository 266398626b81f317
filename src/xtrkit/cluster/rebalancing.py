"""Shards that grew beyond the others, split: a generation of the cluster in which each is several."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

from xtrkit.cluster.splitting import between, ends_of, write_shard
from xtrkit.errors import InputError
from xtrkit.indexing.cluster_writer import change_shards
from xtrkit.indexing.merging import LivingRows, Source
from xtrkit.indexing.store import Store
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.generations import KEPT
from xtrkit.storage.shards import ShardFacts, names_of, read_cluster

LARGEST = 2.0
"""Tokens of a shard, for each of the median one: beyond that it is split."""


class Rebalanced(NamedTuple):
    """What became of a cluster.

    Attributes:
        generation: its generation now.
        split: {shard that was split: the shards that it became}.
        tokens: {shard: its living token vectors now}.
    """

    generation: int
    split: dict[str, list[str]]
    tokens: dict[str, int]


def rebalance(path: str | Path, largest: float = LARGEST, reporter: Reporter = SILENT) -> Rebalanced:
    """Split the shards that grew, in one generation; documents keep their order, so rankings and scores stay.

    No piece is made smaller than shards are on average, so that a few tiny ones don't make very many.

    Args:
        path: the cluster's directory.
        largest: how many times the tokens of the median shard one may have; more than 1.
        reporter: told about the progress.

    Raises:
        InputError: ``largest`` is not more than 1.
        IndexFormatError: there is no cluster, or it is damaged.
        IndexLockedError: a writer is at work.
        StorageError: a file can't be read or written; nothing was changed.
    """
    if isinstance(largest, bool) or not isinstance(largest, int | float) or not largest > 1:
        raise InputError(f"A shard may have more than 1 times the tokens of the median one, got {largest!r}.")
    path = Path(path).absolute()
    split: dict[str, list[str]] = {}
    tokens: dict[str, int] = {}

    def change(shards: Sequence[ShardFacts]) -> list[ShardFacts]:
        tokens.update({shard.name: _tokens(path, shard) for shard in shards})
        most, least = _limits(largest, list(tokens.values()))
        after: list[ShardFacts] = []
        for shard in shards:
            if tokens[shard.name] <= most:
                after.append(shard)
                continue
            pieces = _split(path, shard, int(-(-tokens[shard.name] // max(most, least))), reporter)
            if len(pieces) > 1:
                split[shard.name] = [piece.name for piece in pieces]
                del tokens[shard.name]
                tokens.update({piece.name: _tokens(path, piece) for piece in pieces})
            after += pieces
        return after

    generation = change_shards(path, change, keep=KEPT)
    return Rebalanced(generation, split, {name: tokens[name] for name in _names(path, generation)})


def _limits(largest: float, tokens: Sequence[int]) -> tuple[float, float]:
    """How many tokens a shard may have, and how many a piece of one shall have at least.

    Shards that were emptied say nothing of how large one should be. Where most are tiny, so is the median: pieces as
    large as that would be as many as there are documents.
    """
    held = [number for number in tokens if number] or [0]
    return largest * median_low(held), sum(held) / len(held)


def _split(path: Path, shard: ShardFacts, n: int, reporter: Reporter) -> list[ShardFacts]:
    """Several shards of one; as many as asked for, unless it has fewer documents."""
    taken = {entry.name for entry in path.iterdir()}
    with closing(Store.open(path / shard.name, shard.generation)) as store:
        every = [Source(segment, segment.living) for segment in store.segments]
        lengths = LivingRows(every, store.properties.dim).lengths()
        n = min(n, len(lengths))
        if n < 2:
            return [shard]
        pieces, properties, made = [], store.properties, list[Path]()
        try:
            for name, (first, last) in zip(names_of(n, taken), pairwise([0, *ends_of(lengths, n)]), strict=True):
                made.append(path / name)
                pieces.append(write_shard(path / name, list(between(every, first, last)), store, properties, reporter))
                properties = replace(properties, added_tokens=0, added_error=0.0)  # they are counted once
        except BaseException:
            for directory in made:
                shutil.rmtree(directory, ignore_errors=True)
            raise
    return pieces


def _tokens(path: Path, shard: ShardFacts) -> int:
    with closing(Store.open(path / shard.name, shard.generation)) as store:
        return LivingRows([Source(segment, segment.living) for segment in store.segments], 0).n_tokens


def _names(path: Path, generation: int) -> list[str]:
    return [shard.name for shard in read_cluster(path, generation).shards]
