"""What kernels read, made up: postings, centroids and queries of every kind, without files and encoders."""

from typing import NamedTuple

import numpy as np

from xtrkit.indexing.codec import BucketCodec
from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels.bundles import (
    PADDING,
    QUERY_LIMIT,
    SMALL_LIMIT,
    Centroids,
    DocumentRows,
    Postings,
    Probes,
    QuantisedQuery,
    ScaledVectors,
    shifts_of,
)
from xtrkit.kernels.choosing import STEPS, LookedAt, Promised, look_at_groups, nearest_clusters, promising_clusters
from xtrkit.kernels.gathering import ROWS_PER_MARK
from xtrkit.kernels.probing import score_clusters
from xtrkit.kernels.selection import ROOM
from xtrkit.kernels.tables import NO_TABLE
from xtrkit.token_retrieval.centroid import _room_for
from xtrkit.values import offsets_of

STORAGES = [(codec, bits) for codec in ("grid", "buckets") for bits in (1, 2, 4, 8)]


def anywhere(array):
    """An array where it is."""
    return array


def held(array):
    """An array that can't be written, as those in mapped files: kernels are compiled for these."""
    array.flags.writeable = False
    return array


class Made(NamedTuple):
    """A segment."""

    postings: Postings
    rows: DocumentRows
    centroids: Centroids
    codec: BucketCodec | None
    bits: int

    @property
    def n_documents(self):
        return len(self.rows.document_offsets) - 1

    @property
    def dim(self):
        return self.centroids.centroids.vectors.shape[1]

    def sums(self, rows, query, i):
        """Σ_j level_j · p_ij of some rows of codes, exactly."""
        codes, postings = self.postings.codes[rows], self.postings
        if self.codec is None:
            integers = query.tokens[i, : self.dim]
            if self.bits < 8:
                integers = query.planes[i, :, : codes.shape[1]].ravel()
            return twin.unpack(codes, self.bits) @ integers.astype(np.int64)
        levels = postings.table.levels.reshape(256, -1)[codes].reshape(len(codes), self.dim)
        return levels.astype(np.int64) @ query.tokens[i, : self.dim].astype(np.int64)

    def similarities(self, rows, query, i, of_centroids):
        """Similarities with some rows, to the last bit, given those with their centroids."""
        factor, halves = query.code_scales[i], self.postings.halves[rows]
        if self.codec is None:
            return twin.affine_scores(self.sums(rows, query, i), halves, of_centroids, factor, query.code_offsets[i])
        return twin.table_scores(self.sums(rows, query, i), halves, of_centroids, factor)

    def of_centroid(self, cluster, query, i):
        """Similarity with a centroid, to the last bit."""
        centroids = self.centroids.centroids
        total = int(centroids.vectors[cluster].astype(np.int64) @ query.tokens[i, : self.dim].astype(np.int64))
        return np.float32(total) * (centroids.scales[cluster] * query.scales[i])


def scales_like(random, count, size):
    """Scales of codes, as bits of float16: most near ``size``, some subnormal, some zero."""
    kind = random.choice([0, 1, 2], count, p=[0.8, 0.15, 0.05])
    values = np.choose(kind, [random.random(count) * size, random.random(count) * 6e-5, 0])
    return values.astype(np.float16).view(np.uint16)


def made(random, sizes, dim, storage, place=anywhere, *, extreme=False, n_documents=None):
    """A segment with clusters of some sizes; ``extreme``: all codes and centroids as large as they can be."""
    (name, bits), sizes = storage, np.asarray(sizes)
    n_rows, n_clusters, width = int(sizes.sum()), len(sizes), dim * bits // 8
    n_documents = max(1, n_rows // 5) if n_documents is None else n_documents
    codec = BucketCodec(bits).fitted(random.normal(size=(40, dim)).astype(np.float32)) if name == "buckets" else None
    codes = random.integers(0, 256, (n_rows, width), dtype=np.uint8)
    vectors = random.integers(-127, 128, (n_clusters, dim)).astype(np.int8)
    if extreme:
        codes[:], vectors[:] = 255, random.choice([-127, 127], n_clusters)[:, np.newaxis]
    documents = np.concatenate([np.sort(random.integers(0, n_documents, size)) for size in sizes] or [np.zeros(0)])
    documents = documents.astype(np.int32)
    cluster_offsets, document_offsets = offsets_of(sizes), offsets_of(np.bincount(documents, minlength=n_documents))
    marks = np.searchsorted(cluster_offsets, np.arange(0, n_rows, ROWS_PER_MARK), side="right") - 1
    borders = np.unique(random.integers(0, n_clusters + 1, max(1, n_clusters // 8)))
    group_offsets = np.unique(np.concatenate([[0], borders, [n_clusters]])).astype(np.int64)
    n_groups = len(group_offsets) - 1
    postings = Postings(
        held(place(codes)), held(place(scales_like(random, n_rows, 2 / 2**bits / dim**0.5))), held(place(documents)),
        place(cluster_offsets), shifts_of(bits), codec.table(dim) if codec else NO_TABLE,
    )  # fmt: skip
    radii = (0.02 + 0.1 * random.random(n_clusters)).astype(np.float32)
    rows = DocumentRows(
        held(place(np.argsort(documents, kind="stable").astype(np.uint32))), place(document_offsets),
        place(marks.astype(np.int32)),
    )  # fmt: skip

    def scaled(vectors):
        scales = ((0.5 + random.random(len(vectors))) / 100 / dim**0.5).astype(np.float32)
        return ScaledVectors(held(place(vectors)), held(place(scales)))

    centroids = Centroids(
        scaled(random.integers(-127, 128, (n_groups, dim)).astype(np.int8)), place(group_offsets), scaled(vectors),
        place(sizes.astype(np.int32)), place(radii), np.float32((radii.astype(np.float64) ** 2).mean()),
    )  # fmt: skip
    return Made(postings, rows, centroids, codec, bits)


def asked(random, n, made, place=anywhere, *, extreme=False, zeros=0):
    """A query of n tokens; ``extreme``: integers as large as they can be; ``zeros``: the first tokens are zeros."""
    dim, bits, affine = made.dim, made.bits, made.codec is None
    width, n_planes = dim * bits // 8, 8 // bits if affine and bits < 8 else 0
    tokens = np.zeros((n, dim + -dim % PADDING), dtype=np.int16)
    planes = np.zeros((n, n_planes, width + -width % PADDING), dtype=np.int8)
    tokens[:, :dim] = random.integers(-QUERY_LIMIT, QUERY_LIMIT + 1, (n, dim))
    planes[:, :, :width] = random.integers(-SMALL_LIMIT, SMALL_LIMIT + 1, (n, n_planes, width))
    if extreme:
        signs = random.choice([-1, 1], n)
        tokens[:, :dim], planes[:, :, :width] = QUERY_LIMIT * signs[:, None], SMALL_LIMIT * signs[:, None, None]
    tokens[:zeros], planes[:zeros] = 0, 0
    met = planes.sum(axis=(1, 2), dtype=np.int64) if n_planes else tokens.sum(axis=1, dtype=np.int64)
    scales = ((0.5 + random.random(n)) / QUERY_LIMIT / dim**0.5).astype(np.float32)
    step = np.float32(1) if affine else made.postings.table.step
    zero_point = np.float32((2**bits - 1) / 2) if affine else np.float32(0)
    lengths = np.sqrt((tokens.astype(np.int64) ** 2).sum(axis=1))
    return QuantisedQuery(
        place(tokens), place(scales), place((scales * lengths).astype(np.float32)), place(planes),
        place((scales * (QUERY_LIMIT / SMALL_LIMIT if n_planes else 1)).astype(np.float32) * step),
        place(zero_point * met.astype(np.float32)),
    )  # fmt: skip


def looked_at(centroids, query, groups, place=anywhere):
    """The centroids of some groups, compared with a query: no more room than those groups can need."""
    most = min(len(centroids.sizes), groups * int(np.diff(centroids.group_offsets).max())) * len(query.scales)
    looked = LookedAt(
        place(np.empty(most, np.int32)), place(np.empty(most, np.float32)), place(np.empty(most, np.float32)),
        place(np.zeros(len(query.scales) + 1, np.int64)), place(np.empty(len(centroids.groups.scales), np.float32)),
    )  # fmt: skip
    look_at_groups(centroids, query, groups, looked)
    return looked


def nearest(looked, nprobe, place=anywhere):
    """The clusters whose centroids are most alike to each query token."""
    n = len(looked.starts) - 1
    chosen = _placed(_room_for(n * nprobe, n, 0), place)
    return _taken(chosen, nearest_clusters(looked, nprobe, chosen), place)


def promising(looked, sizes, k, budget, place=anywhere):
    """The clusters that promise most."""
    n, most = len(looked.starts) - 1, int(np.diff(looked.starts).max())
    chosen = _placed(_room_for(int(looked.starts[-1]), n, STEPS), place)
    promised = Promised(
        place(np.zeros((n, STEPS + 1))), place(np.empty((2, n), np.float32)),
        place(np.empty(most + ROOM, np.int32)), place(np.empty(most + ROOM, np.float32)),
        place(np.arange(most, dtype=np.int32)),
    )  # fmt: skip
    return _taken(chosen, promising_clusters(looked, sizes, k, budget, promised, chosen), place)


def opened(segments, query, chosen, place=anywhere, live=None):
    """Similarities with the living tokens of some clusters in one segment after the other."""
    sizes = np.zeros(len(chosen.clusters), dtype=np.int64)
    live = [np.zeros(0, dtype=np.bool_)] * len(segments) if live is None else live
    for segment, alive in zip(segments, live, strict=True):
        sizes += living_sizes(segment, alive)[chosen.clusters]
    probes = Probes(chosen, place(offsets_of(sizes)), place(np.empty(sizes.sum(), np.float32)))
    free = place(probes.places[:-1].copy())
    for segment, alive in zip(segments, live, strict=True):
        score_clusters(segment.postings, alive, query, probes, free)
    assert (free == probes.places[1:]).all()
    return probes


def living_sizes(segment, alive):
    """(C,) tokens of each cluster whose documents are alive."""
    offsets, documents = segment.postings.cluster_offsets, segment.postings.documents
    living = alive[documents] if len(alive) else np.ones(len(documents), dtype=np.bool_)
    return np.diff(offsets_of(living)[offsets])


def _placed(bundle, place):
    return bundle._replace(**{name: place(part) for name, part in bundle._asdict().items()})


def _taken(chosen, count, place):
    return chosen._replace(clusters=place(chosen.clusters[:count].copy()), scores=place(chosen.scores[:count].copy()))
