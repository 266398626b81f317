"""What a task takes in memory is at most what was said before it was begun, and not many times less."""

import tracemalloc

import numpy as np
import pytest

from xtrkit.cluster import holding
from xtrkit.cluster.crew import Pieces, ShardPlan, SharedCodec, Task, Worker
from xtrkit.cluster.parts import ARRAYS, ROWS, Partition, Ranges, Rows, once, partitioned, write_layout, write_trained
from xtrkit.indexing.centroids import grouped
from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.compressed_format import write_quantiser
from xtrkit.indexing.postings import ClusterSums, Trained, drawn_sample, fitted
from xtrkit.passage import Passage
from xtrkit.storage.arrays import open_arrays, write_arrays
from xtrkit.values import EncoderIdentity

DIM, CENTROIDS, LENGTH, PASSAGES = 64, 4096, 100, 3000


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Of three thousand passages with vectors drawn by chance."""
    workplace, random = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    passages = [Passage(str(n), f"A text of number {n}. " * 20, {"number": n}) for n in range(PASSAGES)]
    partitions = tuple(partitioned(workplace, passages, "chance", 1 << 18))
    assert len(partitions) > 3

    def make(directory, partition):
        rows = random.standard_normal((LENGTH * partition.passages, DIM), dtype=np.float32)
        (directory / ROWS).write_bytes((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f2").tobytes())
        write_arrays(directory, ARRAYS, {"lengths": np.full(partition.passages, LENGTH)})

    for partition in partitions:
        once(workplace, partition.vectors, lambda directory, partition=partition: make(directory, partition))
    return write_layout(workplace, partitions, DIM)


@pytest.fixture(scope="module")
def trained(layout):
    random, codec = np.random.default_rng(1), codec_named("grid", 4)
    directions = random.standard_normal((CENTROIDS, DIM), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    held_out = random.standard_normal((5000, DIM), dtype=np.float32)
    found = Trained(codec.rotation(DIM, 0), grouped(directions, 0), held_out, 1.0)
    once(layout.workplace, "centroids", lambda directory: write_trained(directory, found))
    return found


def peak_of(work):
    """Bytes that were held at most, by NumPy and by Python."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_each_task_holds_what_was_said(layout, trained):
    workplace, n_tokens = layout.workplace, layout.n_tokens
    every = Ranges("assigned", "0", 1 << 20)
    compressed, codec = Ranges("compressed", "0", 1 << 20), SharedCodec("codec/name", "grid", 4)
    plan = ShardPlan("s", 0, PASSAGES, Pieces(codec, every, compressed))
    name, tokens = layout.name, (0, n_tokens)
    tasks = {
        "sample": ((name, *tokens), holding.by_sampling(drawn_sample(n_tokens, DIM), DIM)),
        "assign": ((name, "centroids", *tokens), holding.by_assigning(n_tokens, trained)),
        "compress": ((name, codec, every, *tokens), holding.by_compressing(n_tokens, trained)),
        "shard": ((name, plan), holding.by_shard(Rows(layout, *tokens), 4)),
    }
    parts = {"sample": "sampled", "assign": every.part(0), "compress": compressed.part(0), "shard": "shard"}
    for method, (arguments, holds) in tasks.items():
        if method == "compress":
            sums = ClusterSums(trained)
            sums.include(open_arrays(workplace / every.part(0) / ARRAYS))
            quantiser = fitted(codec_named("grid", 4), trained, sums)
            once(workplace, "codec", lambda directory, made=quantiser: write_quantiser(directory, "name", made))
        worker = Worker(workplace, lambda: None, 32, threads=1)
        task = Task(parts[method], method, arguments, 1, holds)
        held = peak_of(lambda worker=worker, task=task: worker.do(task))
        assert held <= holds, method
        assert holds - holding.AT_LEAST < 6 * held, method


def test_a_partition_holds_what_its_bytes_say():
    identity = EncoderIdentity("any", "any", "0", 128, 32, 512)
    one = holding.by_encoding(Partition("", 100, 1 << 20), identity)
    assert one < 1 << 29  # of a mebibyte of texts, half a gibibyte
    assert holding.by_encoding(Partition("", 1, 100 << 20), identity) > 100 * (one - holding.AT_LEAST) / 4
