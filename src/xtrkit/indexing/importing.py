"""Indexes of others, taken over: centroids, buckets and codes as they are, nothing compressed again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from xtrkit.errors import InputError
from xtrkit.forks import begun_here
from xtrkit.indexing import centroids as clustering
from xtrkit.indexing.codec import code_width, renormalised
from xtrkit.indexing.compressed_format import write_quantiser
from xtrkit.indexing.creating import BUILDING, check_free, creator, make_empty, put_in_place
from xtrkit.indexing.postings import energies_of, quantiser_of, write_postings
from xtrkit.indexing.segments import segment_facts, vectors_name
from xtrkit.indexing.spool import BLOCK, blocks_of, claim, clear, workplace_of
from xtrkit.indexing.stanford import StanfordIndex
from xtrkit.indexing.store import Properties
from xtrkit.passage import Passage, checked_passage
from xtrkit.progress import Reporter
from xtrkit.storage.arrays import append_array
from xtrkit.storage.files import scratch, storage_errors
from xtrkit.storage.generations import new_codec_name, new_segment_name
from xtrkit.storage.manifest import Manifest


def write_stanford(
    path: Path,
    source: StanfordIndex,
    *,
    passages: Iterable[Passage] | None,
    overwrite: bool,
    reporter: Reporter,
) -> None:
    """Write an index of the centroids, buckets and codes of a Stanford index.

    Args:
        path: directory to make.
        source: the other index.
        passages: the passages in the other index's order; None numbers them.
        overwrite: replace an index that is there already, once the new one is complete.
        reporter: told about the progress.

    Raises:
        IndexExistsError: something is at ``path`` and may not be overwritten.
        IndexLockedError: another process is building the same index.
        IndexFormatError: the other index is damaged.
        InputError: there are fewer passages in it than were given, or more.
        StorageError: the index could not be written.
    """
    path = path.resolve()
    check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = workplace_of(path)
    process = os.getpid()
    with claim(workplace):
        try:
            building = make_empty(workplace / BUILDING)
            manifest = _write_chunks(source, building, passages, reporter)
            put_in_place(building, manifest, path, overwrite=overwrite)
        finally:
            if begun_here(process):
                clear(workplace)


def _write_chunks(
    source: StanfordIndex, building: Path, passages: Iterable[Passage] | None, reporter: Reporter
) -> Manifest:
    """Write the files of an index but its manifest.

    Centroids are grouped, which gives them other numbers, and rounded to int8 as all are: at most 1/254 of a centroid's
    largest component. Codes stay as they are.
    """
    tree, order = clustering.grouped_in_order(renormalised(source.centroids), seed=0)
    number = np.empty(len(order), dtype=np.int32)
    number[order] = np.arange(len(order), dtype=np.int32)
    errors, sizes = np.zeros(len(order)), np.zeros(len(order), dtype=np.int64)
    quantiser = quantiser_of(
        source.codec, source.codec.rotation(source.dim, 0), tree, source.centroids[order], errors.astype(np.float32)
    )
    lengths, assigned, scales, segment = [], [], [], new_segment_name(1)
    with scratch(building) as unordered:
        with unordered.open("wb") as file, reporter.phase("Reading chunks", source.n_chunks, "chunks") as advance:
            for chunk in source.chunks():
                lengths.append(chunk.lengths)
                assigned.append(number[chunk.assigned])
                for first in range(0, len(chunk.codes), BLOCK):
                    codes, of_block = chunk.codes[first : first + BLOCK], assigned[-1][first : first + BLOCK]
                    centroids = quantiser.decoded_centroids[of_block]
                    scales.append(source.codec.scales(codes, centroids))
                    residuals = source.codec.decode(codes, scales[-1], centroids) - centroids
                    errors += np.bincount(of_block, np.square(residuals).sum(axis=1), minlength=len(errors))
                    sizes += np.bincount(of_block, minlength=len(sizes))
                    append_array(file, codes)
                advance(1)
        if not scales:
            raise InputError(f"{source.path} holds no passages: there is nothing to import.")
        joined, n_tokens = np.concatenate(lengths), sum(map(len, assigned))
        blocks = blocks_of(unordered, "u1", code_width(source.dim, source.codec.bits))
        vectors = write_postings(
            building, vectors_name(segment), blocks, joined,
            np.concatenate(assigned), np.concatenate(scales), quantiser, reporter,
        )  # fmt: skip
    with storage_errors(building, "writing the index in it"):
        quantiser = replace(quantiser, energies=energies_of(errors, sizes))
        codec = write_quantiser(building, new_codec_name(1), quantiser)
        stored = (checked_passage(passage) for passage in _exactly(passages, len(joined)))
        facts = segment_facts(building, segment, joined, vectors, stored)
    # Which error the centroids had for the tokens that they were made for, nobody knows: 0 says so.
    properties = Properties(source.dim, source.codec.bits, "buckets", None, n_tokens, 0.0)
    return Manifest(1, creator(), properties.record(), codec, (facts,))


def _exactly(passages: Iterable[Passage] | None, count: int) -> Iterator[Passage]:
    """``count`` passages and no more; numbered ones where none are given."""
    given = (Passage(str(number)) for number in range(count)) if passages is None else iter(passages)
    taken = 0
    for taken, passage in enumerate(islice(given, count), start=1):  # noqa: B007
        yield passage
    if taken < count or next(given, None) is not None:
        raise InputError(
            f"The collection has {'fewer' if taken < count else 'more'} passages than the {count:,} of the index: "
            "give the one that it was made of."
        )
