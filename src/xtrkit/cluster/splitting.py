"""An index that is there -> shards, without encoding: documents in their order, codes as they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.new_directory import check_new, new_directory
from xtrkit.errors import InputError
from xtrkit.indexing.creating import creator
from xtrkit.indexing.merging import LivingRows, Source, merge
from xtrkit.indexing.store import Properties, Store
from xtrkit.progress import SILENT, Reporter
from xtrkit.storage.files import FileFacts, flush, storage_errors
from xtrkit.storage.generations import commit
from xtrkit.storage.manifest import Manifest
from xtrkit.storage.shards import ClusterManifest, ShardFacts, facts_of, names_of, write_cluster


def split_index(source: str | Path, target: str | Path, n_shards: int, reporter: Reporter = SILENT) -> ClusterManifest:
    """Make a cluster of an index, or of another cluster: it is searched with the same ranking and the same scores.

    Each shard has consecutive documents, about as many tokens as any other, and no dead ones. Which files the documents
    were read from the cluster remembers, as the index does.

    Args:
        source: the index.
        target: the directory to make; it appears when all of it is written.
        n_shards: how many shards, at least 1.
        reporter: told about the progress.

    Raises:
        InputError: something is at ``target`` already, or there are fewer documents than shards.
        IndexFormatError: there is no index, or it is damaged.
        StorageError: a file can't be read or written.
    """
    check_shards(n_shards)
    check_new(Path(target))
    with closing(Store.open(Path(source).absolute())) as store, new_directory(Path(target)) as directory:
        every = [Source(segment, segment.living) for segment in store.segments]
        ends = ends_of(LivingRows(every, store.properties.dim).lengths(), n_shards)
        codec = store.pin.manifest.codec
        shards, properties = [], store.properties
        for name, (first, last) in zip(names_of(n_shards), pairwise([0, *ends]), strict=True):
            sources = list(between(every, first, last))
            shards.append(write_shard(directory / name, sources, store, properties, reporter))
            properties = replace(properties, added_tokens=0, added_error=0.0)  # they are counted once
        read_from = store.pin.manifest.sources
        if read_from is not None:
            same_file(Path(source).absolute(), directory, read_from)
        made = ClusterManifest(1, creator(), None if codec is None else codec.sha256, tuple(shards), read_from)
        write_cluster(directory, made)
    flush(Path(target).absolute().parent)
    return made


def write_shard(
    directory: Path, sources: Sequence[Source], store: Store, properties: Properties, reporter: Reporter = SILENT
) -> ShardFacts:
    """Make a shard of documents of an index.

    Args:
        directory: to be made.
        sources: the documents.
        store: the index that they are from.
        properties: what holds for the shard.
        reporter: told about the progress.

    Raises:
        StorageError: a file can't be read or written.
    """
    codec = store.pin.manifest.codec
    with storage_errors(directory, "making it"):
        directory.mkdir()
        if codec is not None:
            same_file(store.segments[0].directory, directory, codec)
    facts = merge(directory, 1, sources, store.quantiser, properties.dim, reporter)
    commit(directory, Manifest(1, creator(), properties.record(), codec, (facts,)))
    return facts_of(directory.parent, directory.name, 1)


def check_shards(n_shards: int) -> None:
    """Refuse a number of shards that there can't be.

    Raises:
        InputError: it isn't a whole number of at least 1.
    """
    if isinstance(n_shards, bool) or not isinstance(n_shards, int) or n_shards < 1:
        raise InputError(f"The number of shards must be a whole number of at least 1, got {n_shards!r}.")


def ends_of(lengths: npt.NDArray[np.int64], n_shards: int) -> list[int]:
    """Behind which documents shards end: each has one at least, and about as many tokens as any other.

    Raises:
        InputError: there are fewer documents than shards.
    """
    if len(lengths) < n_shards:
        raise InputError(f"The index has {len(lengths):,} documents, too few for {n_shards:,} shards: make fewer.")
    tokens = np.cumsum(lengths)
    wanted = tokens[-1] * np.arange(1, n_shards + 1) / n_shards
    ends: list[int] = (np.searchsorted(tokens, wanted) + 1).tolist()
    for place in range(n_shards):  # one document at least, for each before and behind
        least, most = place + 1, len(lengths) - (n_shards - 1 - place)
        ends[place] = min(max(ends[place], least, ends[place - 1] + 1 if place else 0), most)
    return ends


def between(sources: list[Source], first: int, last: int) -> Iterator[Source]:
    """The living documents from one number to another, counted over living ones, in the segments that have some."""
    begin = 0
    for segment, living in sources:
        numbers = begin + np.cumsum(living) - 1
        taken = living & (numbers >= first) & (numbers < last)
        begin += int(np.count_nonzero(living))
        if taken.any():
            yield Source(segment, taken)


def same_file(source: Path, target: Path, file: FileFacts) -> None:
    """Put a file into another directory, too: as a link, or as a copy where the file system knows none."""
    try:
        os.link(source / file.name, target / file.name)
    except OSError:
        shutil.copyfile(source / file.name, target / file.name)
    flush(target / file.name)
