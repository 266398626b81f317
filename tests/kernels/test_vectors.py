"""Kernels that are made of registers against NumPy, to the last bit, whatever registers the processor has.

``test_targets.py`` has the same of other processors, and of memory that ends where arrays do.
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba import njit

from tests.kernels.made import STORAGES, asked, living_sizes, looked_at, made, nearest, opened, promising
from xtrkit.kernels import reference_codes as twin
from xtrkit.kernels import selection
from xtrkit.kernels.bundles import QUERY_LIMIT, SMALL_LIMIT, ChosenClusters, Probes, QuantisedQuery, empty_slots
from xtrkit.kernels.choosing import FAIR_SHARE, STEPS, quantise
from xtrkit.kernels.expectation import expected_kth_scores
from xtrkit.kernels.gathering import sums_of_max
from xtrkit.kernels.selection import ROOM, kth_largest
from xtrkit.kernels.summing import kth_scores, sum_best

SEEDS = st.integers(0, 2**32 - 1)
STORED = st.sampled_from(STORAGES)
DIMS = st.one_of(st.integers(1, 16).map(lambda eighths: 8 * eighths), st.sampled_from([136, 264, 384, 768, 1024]))
SIZES = st.lists(st.one_of(st.integers(0, 40), st.sampled_from([100, 700])), min_size=1, max_size=9).filter(any)


# Parts of kernels, which only kernels can call.
@njit
def count_from(values, first, last, border):
    return selection.count_from(values, first, last, border)


@njit
def extremes(values, first, last):
    return selection.extremes(values, first, last)


@njit
def border_of(values, first, last, k):
    return selection.border_of(values, first, last, k)


@njit
def keep(values, at, numbers, border, kept_numbers, kept_values, kept):
    return selection.keep(values, at, numbers, border, kept_numbers, kept_values, kept)


def everything(segment, query):
    """All clusters, for each query token."""
    looked = looked_at(segment.centroids, query, len(segment.centroids.groups.scales))
    return nearest(looked, len(segment.centroids.sizes))


def check_scores(segment, query):
    chosen, of_row = everything(segment, query), segment.postings.cluster_offsets
    probes = opened([segment], query, chosen)
    for i, (begin, end) in enumerate(pairwise(chosen.starts)):
        assert chosen.clusters[begin:end].tolist() == list(range(len(segment.centroids.sizes)))
        for probe, cluster in enumerate(chosen.clusters[begin:end], begin):
            assert chosen.scores[probe] == segment.of_centroid(cluster, query, i)
            rows = slice(*of_row[cluster : cluster + 2])
            expected = segment.similarities(rows, query, i, chosen.scores[probe])
            found = probes.scores[probes.places[probe] : probes.places[probe + 1]]
            np.testing.assert_array_equal(found, expected)
    return probes


@given(SEEDS, DIMS, STORED, SIZES, st.sampled_from([1, 2, 5, 33]))
def test_similarities_are_those_of_integers_to_the_last_bit(seed, dim, storage, sizes, n):
    random = np.random.default_rng(seed)
    segment = made(random, sizes, dim, storage)
    check_scores(segment, asked(random, n, segment, zeros=seed % 3 == 0))


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_nothing_overflows_at_the_widest_vectors(storage):
    random = np.random.default_rng(0)
    segment = made(random, [0, 1, 17, 40], 4096, storage, extreme=True)
    probes = check_scores(segment, asked(random, 9, segment, extreme=True))
    assert np.isfinite(probes.scores).all()
    if storage == ("grid", 8):
        most = np.abs(segment.sums(slice(None), asked(random, 1, segment, extreme=True), 0)).max()
        assert most == 255 * QUERY_LIMIT * 4096


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_a_cluster_of_thousands_of_rows(storage):
    random = np.random.default_rng(1)
    segment = made(random, [3, 5000, 1], 64, storage)
    check_scores(segment, asked(random, 3, segment))


@given(SEEDS, STORED, SIZES, st.integers(1, 70), st.integers(1, 3))
def test_segments_with_dead_documents_are_as_one_without(seed, storage, sizes, n, n_segments):
    random = np.random.default_rng(seed)
    first = made(random, sizes, 24, storage)
    others = [made(random, random.permutation(sizes), 24, storage) for _ in range(n_segments - 1)]
    segments = [first, *(other._replace(centroids=first.centroids, codec=first.codec) for other in others)]
    for segment in segments[1:]:
        assert segment.bits == first.bits
    if first.codec is not None:  # one codec is everyone's
        segments = [s._replace(postings=s.postings._replace(table=first.postings.table)) for s in segments]
    live = [random.random(segment.n_documents) < random.choice([0, 0.5, 0.9]) for segment in segments]
    query = asked(random, n, first)
    chosen = everything(first, query)
    probes = opened(segments, query, chosen, live=live)
    at = 0
    for probe, cluster in enumerate(chosen.clusters):
        i = int(np.searchsorted(chosen.starts, probe, side="right")) - 1
        for segment, alive in zip(segments, live, strict=True):
            rows = np.arange(*segment.postings.cluster_offsets[cluster : cluster + 2])
            rows = rows[alive[segment.postings.documents[rows]]]
            expected = segment.similarities(rows, query, i, chosen.scores[probe])
            np.testing.assert_array_equal(probes.scores[at : at + len(rows)], expected)
            at += len(rows)
    assert at == len(probes.scores)


@given(SEEDS, DIMS, st.integers(1, 60), st.integers(1, 9), st.data())
def test_the_nearest_clusters_are_those_of_the_nearest_groups(seed, dim, n_clusters, n, data):
    random = np.random.default_rng(seed)
    segment = made(random, random.integers(0, 9, n_clusters), dim, ("grid", 4))
    centroids, query = segment.centroids, asked(random, n, segment, zeros=seed % 4 == 0)
    groups = data.draw(st.integers(1, len(centroids.groups.scales)))
    nprobe = data.draw(st.integers(1, n_clusters))
    looked = looked_at(centroids, query, groups)
    chosen = nearest(looked, nprobe)
    exact = query.tokens[:, :dim].astype(np.float64) * query.scales[:, np.newaxis]
    for i, (begin, end) in enumerate(pairwise(chosen.starts)):
        expected = twin.nearest_clusters(
            centroids.groups.decoded(), centroids.group_offsets, centroids.centroids.decoded(), exact[i], groups, nprobe
        )
        assert chosen.clusters[begin:end].tolist() == expected
        assert chosen.scores[begin:end].tolist() == [segment.of_centroid(c, query, i) for c in expected]


def test_groups_that_are_equally_alike_are_looked_at_up_to_their_number():
    """A query token of zeros, and groups that have one direction."""
    random = np.random.default_rng(0)
    segment = made(random, np.full(400, 3), 16, ("grid", 4))
    vectors = segment.centroids.groups.vectors.copy()
    vectors[:] = vectors[0]
    centroids = segment.centroids._replace(
        groups=segment.centroids.groups._replace(vectors=vectors, scales=np.ones(len(vectors), np.float32))
    )
    for query in (asked(random, 2, segment, zeros=2), asked(random, 2, segment)):
        looked = looked_at(centroids, query, 3)
        assert looked.starts.tolist() == [0, *(centroids.group_offsets[3] * np.arange(1, 3))]
        assert looked.numbers[: looked.starts[1]].tolist() == list(range(centroids.group_offsets[3]))


@given(SEEDS, st.integers(1, 300), st.integers(1, 40), st.floats(0.02, 2), st.integers(1, 2000), st.booleans())
def test_clusters_are_opened_by_what_they_promise(seed, n_clusters, n, share, k, equal):
    """The order rule, but for the steps in which tokens are counted."""
    random = np.random.default_rng(seed)
    segment = made(random, random.integers(0, 60, n_clusters) * (random.random(n_clusters) < 0.8), 16, ("grid", 2))
    centroids = segment.centroids
    if equal:
        centroids = centroids._replace(sizes=np.full(n_clusters, 30, np.int32))
    query, n_groups = asked(random, n, segment), len(centroids.groups.scales)
    looked = looked_at(centroids, query, int(random.integers(1, n_groups + 1)))
    parts = [slice(first, last) for first, last in pairwise(looked.starts)]
    promises, numbers = [looked.promises[part] for part in parts], [looked.numbers[part] for part in parts]
    sizes = [centroids.sizes[of_token] for of_token in numbers]
    expected = np.float32(2.5) * query.norms.repeat(np.diff(looked.starts)) * centroids.radii[np.concatenate(numbers)]
    np.testing.assert_array_equal(looked.promises[: looked.starts[-1]], looked.scores[: looked.starts[-1]] + expected)
    budget = share * sum(int(held.sum()) for held in sizes)
    assume(budget > 0)
    chosen = promising(looked, centroids.sizes, k, budget)
    step = max(float(of_token.max() - of_token.min()) for of_token in promises) / STEPS + 1e-6
    borders = twin.promising_borders(promises, sizes, k, budget, float(FAIR_SHARE))
    for i, (of_token, held, of_clusters) in enumerate(zip(promises, sizes, numbers, strict=True)):
        begin, end = chosen.starts[i], chosen.starts[i + 1]
        is_open = np.isin(of_clusters, chosen.clusters[begin:end])
        assert chosen.clusters[begin:end].tolist() == of_clusters[is_open].tolist()
        assert chosen.scores[begin:end].tolist() == looked.scores[parts[i]][is_open].tolist()
        assert of_token[is_open].min() > of_token[~is_open].max(initial=-np.inf)  # the best, and no others
        assert held[is_open].any() or not held.any()  # a cluster that holds tokens at least
        assert is_open[of_token > borders[i] + 5 * step].all()
        assert not is_open[of_token < borders[i] - 5 * step].any()
        # What is closed is counted in steps of promise.
        low, high = chosen.closed_range[i]
        steps = np.minimum(((of_token - low) * (np.float32(STEPS) / (high - low))).astype(np.int32), STEPS - 1)
        counted = np.bincount(steps[~is_open], held[~is_open], minlength=STEPS)
        assert chosen.closed_tokens[i].tolist() == counted.tolist()


@given(SEEDS, st.integers(20, 300), st.integers(1, 40), st.floats(0.05, 0.95))
def test_the_budget_is_met_but_for_a_step(seed, n_clusters, n, share):
    random = np.random.default_rng(seed)
    segment = made(random, random.integers(1, 60, n_clusters), 16, ("grid", 2))
    query = asked(random, n, segment)
    looked = looked_at(segment.centroids, query, len(segment.centroids.groups.scales))
    sizes, total = segment.centroids.sizes, n * int(segment.centroids.sizes.sum())
    chosen = promising(looked, sizes, 500, share * total)
    opened_tokens = int(sizes[chosen.clusters].sum())
    # A border may lie anywhere within a step of each query token.
    slack = sum(
        float(np.bincount(np.minimum(((p - p.min()) / max(np.ptp(p), 1e-9) * STEPS).astype(int), STEPS - 1),
                          sizes[looked.numbers[a:b]]).max())
        for a, b in pairwise(looked.starts) for p in [looked.promises[a:b].astype(np.float64)]
    )  # fmt: skip
    assert abs(opened_tokens - share * total) <= slack + n * int(sizes.max())


@given(SEEDS, st.integers(1, 90), st.integers(1, 9), st.integers(1, 10**6))
def test_an_infinite_budget_opens_everything(seed, n_clusters, n, k):
    random = np.random.default_rng(seed)
    segment = made(random, random.integers(0, 9, n_clusters), 8, ("grid", 4))
    query = asked(random, n, segment, zeros=seed % 2)
    looked = looked_at(segment.centroids, query, len(segment.centroids.groups.scales))
    chosen = promising(looked, segment.centroids.sizes, k, np.inf)
    assert chosen.clusters.tolist() == list(range(n_clusters)) * n
    assert not chosen.closed_tokens.any()


VALUES = st.lists(
    st.one_of(st.floats(-10, 10, width=32), st.sampled_from([0.0, -0.0, 1.5, 1e-45, -1e-38])), min_size=1, max_size=90
)


@given(VALUES, st.data())
def test_counting_and_extremes(values, data):
    array = np.array(values, dtype=np.float32)
    first = data.draw(st.integers(0, len(array) - 1))
    last, border = data.draw(st.integers(first + 1, len(array))), data.draw(st.sampled_from(values))
    part = array[first:last]
    assert count_from(array, first, last, np.float32(border)) == (part >= np.float32(border)).sum()
    assert extremes(array, first, last) == (part.min(), part.max())
    assert count_from(array, first, first, np.float32(border)) == 0


@given(VALUES, st.data())
def test_borders(values, data):
    array = np.array(values, dtype=np.float32)
    first = data.draw(st.integers(0, len(array) - 1))
    last = data.draw(st.integers(first + 1, len(array)))
    k, part = data.draw(st.integers(1, last - first)), array[first:last]
    border = border_of(array, first, last, k)
    kth = np.sort(part)[::-1][k - 1]
    assert (part >= border).sum() == (part >= kth).sum() >= k
    assert (part >= border).sum() == k or border == kth
    assert kth_largest(part.copy(), k) == kth
    assert array.tolist() == np.array(values, dtype=np.float32).tolist()


@given(SEEDS, st.integers(0, 200), st.integers(0, 70), st.integers(0, 20), st.sampled_from([3, 1000]))
def test_keeping(seed, count, at, before, distinct):
    """What is kept stands in order behind what was kept, and nothing beyond the room is touched."""
    random = np.random.default_rng(seed)
    values = (random.integers(-distinct, distinct, at + count + 3) / distinct).astype(np.float32)
    numbers = held_numbers(random, count)
    border = np.float32(random.choice([-np.inf, -1, 0, 0.3, 2]))
    mine = values[at : at + count]
    kept = int((mine >= border).sum())
    kept_numbers = np.full(before + kept + ROOM + 4, -7, np.int32)
    kept_values = np.full(before + kept + ROOM + 4, -7, np.float32)
    assert keep(values, at, numbers, border, kept_numbers, kept_values, np.uint64(before)) == before + kept
    assert kept_numbers[before : before + kept].tolist() == numbers[mine >= border].tolist()
    assert kept_values[before : before + kept].tolist() == mine[mine >= border].tolist()
    for array in (kept_numbers, kept_values):
        assert (array[:before] == -7).all()
        assert (array[-4:] == -7).all()


def held_numbers(random, count):
    return random.integers(-(2**31), 2**31, count).astype(np.int32)


@given(SEEDS, DIMS, STORED, SIZES, st.integers(1, 70))
@settings(max_examples=40)
def test_all_tokens_of_documents_have_the_similarities_that_opened_clusters_have(seed, dim, storage, sizes, n):
    random = np.random.default_rng(seed)
    segment = made(random, sizes, dim, storage, extreme=seed % 5 == 0)
    query = asked(random, n, segment, extreme=seed % 5 == 0)
    lengths = np.diff(segment.rows.document_offsets)
    candidates = random.permutation(np.flatnonzero(lengths)).astype(np.int32)
    most = np.where(random.random(n) < 0.5, np.inf, random.normal(size=n))
    sums = np.empty(len(candidates))
    sums_of_max(segment.postings, segment.rows, segment.centroids.centroids, candidates, query, most, sums)
    probes = opened([segment], query, everything(segment, query))
    by_token = probes.scores.reshape(n, -1)[:, segment.rows.positions]
    for document, total in zip(candidates, sums, strict=True):
        first, last = segment.rows.document_offsets[document : document + 2]
        expected = 0.0
        for best, limit in zip(by_token[:, first:last].max(axis=1).astype(np.float64), most, strict=True):
            expected += min(best, limit)
        assert total == expected


@given(SEEDS, st.integers(1, 40), st.integers(1, 20))
def test_kth_scores(seed, n_clusters, k):
    random = np.random.default_rng(seed)
    segment = made(random, random.integers(0, 9, n_clusters), 8, ("grid", 4))
    query = asked(random, 3, segment)
    chosen = nearest(looked_at(segment.centroids, query, 1), 1)
    probes, kth = opened([segment], query, chosen), np.empty(3, np.float32)
    kth_scores(probes, k, kth)
    for i, value in enumerate(kth):
        found = np.sort(probes.scores[probes.places[chosen.starts[i]] : probes.places[chosen.starts[i + 1]]])[::-1]
        assert value == (found[min(k, len(found)) - 1] if len(found) else 0)


def split(random, segment, n_parts):
    """Segments with the documents of one, each in some of them, and who is where: every token is in one of them."""
    owner = random.integers(0, n_parts, segment.n_documents)
    postings, parts = segment.postings, []
    for part in range(n_parts):
        mine = owner[postings.documents] == part
        offsets = np.concatenate([[0], np.cumsum(mine)])[postings.cluster_offsets]
        parts.append(segment._replace(postings=postings._replace(
            codes=np.ascontiguousarray(postings.codes[mine]), halves=postings.halves[mine].copy(),
            documents=postings.documents[mine].copy(), cluster_offsets=offsets,
        )))  # fmt: skip
    return [parts[place] for place in random.permutation(n_parts)]


@given(SEEDS, st.integers(1, 400), st.integers(2, 4), st.sampled_from(STORAGES[2:7:4]))
@settings(max_examples=40)
def test_imputation_is_the_same_to_the_last_bit_however_tokens_are_split(seed, k, n_parts, storage):
    random = np.random.default_rng(seed)
    segment = made(random, random.integers(0, 30, 40), 16, storage)
    query = asked(random, 4, segment)
    looked = looked_at(segment.centroids, query, len(segment.centroids.groups.scales))
    chosen = promising(looked, segment.centroids.sizes, k, 0.3 * 4 * segment.centroids.sizes.sum())
    whole = np.empty(4, np.float32)
    expected_kth_scores(opened([segment], query, chosen), segment.centroids, query, k, whole)
    for _ in range(3):
        kth = np.empty(4, np.float32)
        expected_kth_scores(opened(split(random, segment, n_parts), query, chosen), segment.centroids, query, k, kth)
        assert kth.tolist() == whole.tolist()


def test_a_query_token_of_zeros_harms_no_other():
    random = np.random.default_rng(3)
    segment = made(random, random.integers(0, 30, 60), 16, ("grid", 4))
    query = asked(random, 3, segment, zeros=1)
    looked = looked_at(segment.centroids, query, len(segment.centroids.groups.scales))
    chosen = promising(looked, segment.centroids.sizes, 50, 200.0)
    kth = np.empty(3, np.float32)
    expected_kth_scores(opened([segment], query, chosen), segment.centroids, query, 50, kth)
    assert np.isfinite(kth).all()
    assert abs(kth[0]) < 1e-5


@given(SEEDS, st.integers(1, 9), st.integers(1, 3))
def test_sums_of_the_best_equal_their_twin(seed, n, n_segments):
    random = np.random.default_rng(seed)
    segments = [made(random, random.integers(0, 9, 6), 8, ("grid", 4), n_documents=5) for _ in range(n_segments)]
    live = [random.random(5) < 0.7 if random.random() < 0.5 else np.zeros(0, dtype=np.bool_) for _ in segments]
    starts = np.concatenate([[0], np.cumsum(random.integers(0, 4, n))])
    clusters = random.integers(0, 6, starts[-1]).astype(np.int32)
    nothing = np.zeros((n, 0), np.float32)
    chosen = ChosenClusters(clusters, np.zeros(len(clusters), np.float32), starts, nothing, nothing)
    counts = sum(living_sizes(s, alive) for s, alive in zip(segments, live, strict=True))[clusters]
    places = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    probes = Probes(chosen, places, random.choice(np.linspace(-1, 1, 9), places[-1]).astype(np.float32))
    lowest, missing = random.uniform(-1, 0.5, n).astype(np.float32), random.uniform(-1, 1, n)
    n_documents = 5 * n_segments
    allowed = random.random(n_documents) < 0.7 if seed % 2 else np.zeros(0, dtype=np.bool_)
    slots, matched = empty_slots(n_documents), np.zeros(n_documents * (seed % 3 > 0), dtype=np.int32)
    most, count = min(n_documents, len(probes.scores)), 0
    found, totals, free = np.empty(most + 1, np.int32), np.empty(most), places[:-1].copy()
    for number, (segment, alive) in enumerate(zip(segments, live, strict=True)):
        count += sum_best(
            segment.postings, alive, 5 * number, probes, free, lowest, missing, allowed, slots, found[count:],
            totals[count:], matched,
        )  # fmt: skip
    assert (free == places[1:]).all()
    assert not slots.words.any()
    hits = []
    for i in range(n):
        of_token, at = [], places[starts[i]]
        for cluster in clusters[starts[i] : starts[i + 1]]:
            for number, (segment, alive) in enumerate(zip(segments, live, strict=True)):
                for row in range(*segment.postings.cluster_offsets[cluster : cluster + 2]):
                    document = int(segment.postings.documents[row])
                    if not len(alive) or alive[document]:
                        if not len(allowed) or allowed[document + 5 * number]:
                            of_token.append((document + 5 * number, float(probes.scores[at])))
                        at += 1
        hits.append(of_token)
    expected = twin.xtr_sums(hits, lowest.tolist(), missing.tolist())
    assert sorted(found[:count].tolist()) == sorted(expected)
    for document, total in zip(found[:count].tolist(), totals, strict=False):
        assert total == pytest.approx(expected[document][0], abs=1e-6)
        assert not len(matched) or matched[document] == expected[document][1]


@given(SEEDS, DIMS, st.sampled_from([0, 2, 4, 8]), st.sampled_from([1.0, 1e-4, 1e-29, 1e-38, 30.0]))
def test_queries_are_rounded_to_the_nearest_integers(seed, dim, n_planes, size):
    random = np.random.default_rng(seed)
    rotated = (size * random.standard_t(3, size=(4, dim)) / dim**0.5).astype(np.float32)
    rotated[0] = 0
    width = dim // max(n_planes, 1)
    query = QuantisedQuery(
        np.zeros((4, dim + -dim % 64), np.int16), np.empty(4, np.float32), np.empty(4, np.float32),
        np.zeros((4, n_planes, width + -width % 64), np.int8), np.empty(4, np.float32), np.empty(4, np.float32),
    )  # fmt: skip
    quantise(rotated, 7.5, 0.25, query)
    integers, scales = query.tokens[:, :dim].astype(np.int64), query.scales.astype(np.float64)
    assert np.abs(integers).max() <= QUERY_LIMIT
    assert not query.tokens[:, dim:].any()
    assert not query.planes[:, :, width:].any()
    off = np.abs(integers * scales[:, np.newaxis] - rotated) / scales[:, np.newaxis]
    assert off.max() <= 0.501
    np.testing.assert_allclose(query.norms, np.sqrt((integers**2).sum(axis=1)) * scales, rtol=1e-5)
    met, step = integers, query.code_scales / 0.25
    if n_planes:
        met = query.planes[:, :, :width].reshape(4, dim).astype(np.int64)
        assert np.abs(met).max() <= SMALL_LIMIT
        assert (np.abs(met * step[:, np.newaxis] - rotated) <= 0.501 * step[:, np.newaxis]).all()
    np.testing.assert_array_equal(query.code_offsets, np.float32(7.5) * met.sum(axis=1).astype(np.float32))
