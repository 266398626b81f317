"""A cluster that is changed in place: held to a table of what it should hold, and to the one index of its shards."""

import json
import pickle
import shutil
from contextlib import closing

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.cluster.test_cli import answer, refusal
from tests.commands import in_text
from xtrkit import Passage
from xtrkit.cluster.rebalancing import rebalance
from xtrkit.cluster.splitting import split_index
from xtrkit.errors import IndexLockedError, InputError, StorageError
from xtrkit.index import Index
from xtrkit.indexing import cluster_writer
from xtrkit.indexing.checking import verify
from xtrkit.indexing.store import Store
from xtrkit.storage.shards import cluster_generations, read_cluster

DIM = 8
NAMES = [f"d{number}" for number in range(40)]


def vectors(seed, most=6):
    chance = np.random.default_rng(seed)
    found = chance.normal(size=(int(chance.integers(1, most + 1)), DIM)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An index of 24 documents."""
    path = tmp_path_factory.mktemp("changing") / "idx"
    names = NAMES[:24]
    Index.create(path, [[vectors(n) for n in range(24)]], ids=names, texts=[f"text {name}" for name in names]).close()
    return path


@pytest.fixture
def cluster(made, tmp_path):
    split_index(made, tmp_path / "c", 3)
    return tmp_path / "c"


def held(path):
    """{id: text}, and in which shard each id is."""
    shards = {}
    for shard in read_cluster(path).shards:
        with closing(Store.open(path / shard.name, shard.generation)) as store:
            for _, passage in store.passages.living():
                assert passage.id not in shards, "an id in two shards"
                shards[passage.id] = shard.name
    with Index.open(path) as index:
        return {passage.id: passage.text for passage in index.get(shards)}, shards


def ranking(index):
    found = [index.search(vectors(seed), 50) for seed in (900, 901)]
    return [(one.ids, one.scores.tobytes()) for one in found]


class Changes(RuleBasedStateMachine):
    """Adds, updates, deletes, compactions and rebalancing, in any order."""

    made = target = None

    @initialize()
    def begin(self):
        shutil.rmtree(self.target, ignore_errors=True)
        split_index(self.made, self.target, 3)
        self.index = Index.open(self.target)
        self.expected = {name: f"text {name}" for name in NAMES[:24]}
        self.shards = held(self.target)[1]
        self.generation = 1

    def teardown(self):
        self.index.close()

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=8, unique=True), seed=st.integers(0, 99))
    def add(self, names, seed):
        with self.index.writer() as writer:
            writer.add([Passage(name, f"{name} {seed}") for name in names], [vectors(seed)] * len(names))
        there = set(names) & self.expected.keys()
        assert writer.summary.updated == len(there)
        assert writer.summary.added == len(names) - len(there)
        self.expected |= {name: f"{name} {seed}" for name in names}
        self.moved(writer.summary)

    @precondition(lambda self: len(self.expected) > 4)
    @rule(data=st.data())
    def delete(self, data):
        names = data.draw(st.lists(st.sampled_from(sorted(self.expected)), min_size=1, max_size=6, unique=True))
        if len(names) >= len(self.expected):
            return
        summary = self.index.delete(names)
        assert summary.deleted == len(names)
        for name in names:
            del self.expected[name]
            del self.shards[name]
        self.moved(summary)

    @rule()
    def compact(self):
        before = ranking(self.index)
        summary = self.index.compact()
        assert summary.segments == len(read_cluster(self.target).shards)
        assert summary.generation in (self.generation, self.generation + 1)
        self.generation = summary.generation
        assert ranking(self.index) == before

    @rule(largest=st.sampled_from([1.01, 1.3, 2]))
    def rebalance(self, largest):
        before = ranking(self.index)
        done = rebalance(self.target, largest)
        assert self.index.refresh() == bool(done.split)
        assert ranking(self.index) == before
        self.generation, self.shards = done.generation, held(self.target)[1]

    def moved(self, summary):
        self.generation += 1
        assert summary.generation == self.generation
        assert summary.documents == len(self.expected)
        self.index.refresh()
        assert len(self.index) == len(self.expected)

    @invariant()
    def all_is_there(self):
        found, shards = held(self.target)
        assert found == self.expected
        for name, shard in self.shards.items():
            assert shards[name] == shard, "an id moved to another shard"
        self.shards = shards
        assert verify(self.target, full=True).ok
        assert len(cluster_generations(self.target)) <= 3


def test_any_order_of_changes(made, tmp_path):
    machine = type("Machine", (Changes,), {"made": made, "target": tmp_path / "c"})
    machine.TestCase.settings = settings(
        max_examples=12, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine.TestCase("runTest").runTest()


def test_a_writer_that_dies_before_the_cluster_is_committed_changes_nothing(cluster, monkeypatch):
    before, generations = held(cluster)[0], cluster_generations(cluster)

    def dies(*given):
        raise StorageError("No space left on device")

    for _ in range(3):  # more often than a shard keeps generations
        with Index.open(cluster) as index, index.writer() as writer, monkeypatch.context() as patch:
            writer.delete(NAMES[:3])
            writer.add(["new"], [vectors(7)])
            patch.setattr(cluster_writer, "write_cluster", dies)
            with pytest.raises(StorageError):
                writer.commit()
        assert cluster_generations(cluster) == generations
        assert verify(cluster, full=True).ok
        assert held(cluster)[0].keys() == before.keys()
    with Index.open(cluster) as index:
        assert index.delete(["d5"]).generation == 2
    assert held(cluster)[0].keys() == before.keys() - {"d5"}
    shards = [len(list((cluster / shard.name).glob("manifest-*"))) for shard in read_cluster(cluster).shards]
    assert max(shards) <= 2  # what the writers that died left is gone


def test_readers_keep_their_generation(cluster):
    with Index.open(cluster) as old:
        before = ranking(old)
        for number in range(5):
            with Index.open(cluster) as index:
                index.delete([NAMES[number]])
        rebalance(cluster, 1.01)
        with Index.open(cluster) as index:
            index.compact()
        assert ranking(old) == before
        assert old.get(["d0"])[0].id == "d0"
        assert old.refresh()
        assert not old.numbers(["d0"])
    with Index.open(cluster) as index:
        index.compact()
        index.delete(["d9"])
    kept = {
        shard.name for generation in cluster_generations(cluster) for shard in read_cluster(cluster, generation).shards
    }
    assert {path.name for path in cluster.glob("shard-*")} == kept  # those that were split are gone


def test_new_documents_go_where_there_is_least(cluster):
    with Index.open(cluster) as index:
        for first in range(0, 12, 2):
            with index.writer() as writer:
                writer.add([f"n{first}", f"n{first + 1}"], [vectors(1), vectors(2)])
    _, shards = held(cluster)
    counts = [
        sum(name.startswith("n") for name, shard in shards.items() if shard == one) for one in set(shards.values())
    ]
    assert max(counts) <= 6


def test_one_large_batch_is_spread(cluster):
    """The passages of a document lie together."""
    passages = [Passage(f"p{number}", part=(f"long/{number // 3}", 0, 1)) for number in range(36)]
    with Index.open(cluster) as index, index.writer() as writer:
        writer.add(passages, [vectors(number) for number in range(36)])
    _, shards = held(cluster)
    of_documents = [{shards[f"p{number + more}"] for more in range(3)} for number in range(0, 36, 3)]
    assert all(len(one) == 1 for one in of_documents)
    assert len(set.union(*of_documents)) == 3


def test_a_batch_counts_whole_or_not_at_all(cluster):
    with Index.open(cluster) as index, index.writer() as writer:
        with pytest.raises(InputError, match="comes twice in a batch"):
            writer.add(["a", "a"], [vectors(1), vectors(2)])
        with pytest.raises(InputError, match="No document of this index has the id 'nobody'"):
            writer.update(["d1", "nobody"], [vectors(1), vectors(2)])
        with pytest.raises(InputError, match="No document of this index has the id 'nobody'"):
            writer.delete(["d1", "nobody"])
        with pytest.raises(InputError):
            writer.add(["a", "b"], [vectors(1), np.full((1, DIM), np.nan, np.float32)])
        assert writer.counts == (0, 0, 0)
        assert writer.commit().generation == 1
    assert cluster_generations(cluster) == [1]


def test_one_writer_at_a_time(cluster):
    with Index.open(cluster) as index, index.writer():
        with pytest.raises(IndexLockedError), Index.open(cluster) as other:
            other.delete(["d1"])
        with pytest.raises(IndexLockedError):
            rebalance(cluster)


def test_a_shard_is_changed_through_its_cluster(cluster):
    shard = cluster / "shard-0001"
    with Index.open(shard) as index, pytest.raises(InputError, match="is a shard of the cluster"):
        index.delete([next(index.ids())])
    assert f"{shard} is a shard of the cluster {cluster}" in refusal("compact", shard)
    assert f"{shard} is a shard of the cluster {cluster}" in refusal("repair", shard, "--rollback", 1)
    (cluster.parent / "link").symlink_to(shard)
    assert "is a shard of the cluster" in refusal("compact", cluster.parent / "link")
    with Index.open(cluster) as index, pytest.raises(InputError, match="share their centroids"):
        index.compact(retrain=True)


def test_rebalancing(cluster):
    with Index.open(cluster) as index, index.writer() as writer:
        shard = held(cluster)[1]["d0"]
        writer.update(["d0"], [np.concatenate([vectors(seed) for seed in range(60)])])
        writer.update(["d1"], [np.concatenate([vectors(seed) for seed in range(60)])])
    told = json.loads(answer("cluster", "rebalance", cluster, "--json"))
    assert told["generation"] == 3
    assert list(told["split"]) == [shard]
    assert all(name in told["tokens"] for name in told["split"][shard])
    assert "No shard has more than 50" in answer("cluster", "rebalance", cluster, "--largest", 50)
    assert "more than 1 times" in refusal("cluster", "rebalance", cluster, "--largest", 1)
    assert "There is no cluster" in refusal("cluster", "rebalance", cluster / "shard-0001")


def test_rebalancing_beside_shards_that_are_almost_empty(cluster):
    """A median of nothing, or of almost nothing, would make a shard of each document."""
    _, shards = held(cluster)
    kept = [name for name in shards if shards[name] == "shard-0001"]
    with Index.open(cluster) as index:
        index.delete(shards.keys() - set(kept))
        assert rebalance(cluster).split == {}
        with index.writer() as writer:
            writer.add(["tiny"], [vectors(1, 1)])
        assert len(rebalance(cluster).split["shard-0001"]) == 2
        index.delete([*kept, "tiny"])
    assert set(rebalance(cluster).tokens.values()) == {0}


def test_a_pickled_index_stays_at_its_generation(cluster):
    with Index.open(cluster) as index:
        snapshot = index.snapshot()
        index.delete(["d1"])
        index.delete(["d2"])
        with pickle.loads(pickle.dumps(snapshot)) as again:
            assert (again.generation, len(again)) == (1, 24)
        del snapshot
        with closing(Index.open(cluster)) as newest:
            sent = pickle.dumps(newest)
    with Index.open(cluster) as index:
        index.compact()
        index.delete(["d3"])
        index.compact()
    with pickle.loads(sent) as again:
        assert len(again) == 21


def test_going_back_to_the_generation_before(cluster):
    with Index.open(cluster) as index:
        before = ranking(index)
        index.delete(["d1"])
    newest = cluster / "cluster-000000000002.json"
    content = newest.read_bytes()
    newest.write_bytes(content[:-1])
    assert f"xtrkit repair {cluster} --rollback 1" in in_text("verify", cluster).stdout
    newest.write_bytes(content)
    changed = next(shard for shard in read_cluster(cluster).shards if shard.generation == 2).name
    (damaged,) = (cluster / changed).glob("s*.dead-*")
    damaged.write_bytes(b"")
    assert verify(cluster).repair == [f"xtrkit repair {cluster} --rollback 1"]
    assert answer("repair", cluster, "--rollback", 1).startswith("Generation 3 holds what generation 1 held.")
    assert verify(cluster, full=True).ok
    assert "has no generation 7 (any more): there are 1, 2, 3" in refusal("repair", cluster, "--rollback", 7)
    with Index.open(cluster) as index:
        assert ranking(index) == before
        assert index.delete(["d2"]).generation == 4
        assert index.delete(["d3"]).generation == 5
    assert verify(cluster, full=True).ok
    assert cluster_generations(cluster) == [4, 5]
