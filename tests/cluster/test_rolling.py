"""Moving to a new generation: while searches go on, by several at once, and where a shard does not answer."""

import json
import pickle
import threading
from functools import partial

import numpy as np
import pytest

from tests.cluster.hosts import hosts_here
from tests.cluster.test_splitting import TEXTS
from xtrkit import Retriever
from xtrkit.cluster.cluster import Cluster
from xtrkit.cluster.index import ClusterIndex
from xtrkit.cluster.places import Here
from xtrkit.cluster.ray_shards import RayShards, _ShardActor
from xtrkit.cluster.splitting import split_index
from xtrkit.encoding import load_encoder
from xtrkit.errors import ModelError, ShardDownError
from xtrkit.index import Index
from xtrkit.serving.committing import Adding, Change, Committer
from xtrkit.serving.jobs import Job
from xtrkit.serving.service import Served, Service
from xtrkit.serving.settings import Settings
from xtrkit.storage.shards import read_cluster


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("rolling") / "idx"
    Retriever.create(path, [{"id": name, "text": text} for name, text in TEXTS.items()]).close()
    return path


@pytest.fixture
def cluster(made, tmp_path):
    split_index(made, tmp_path / "c", 3)
    return tmp_path / "c"


def delete(path, name):
    with Index.open(path) as index:
        index.delete([name])


class Opening:
    """Opens shards in this process; where it is told so, it waits, or says that one does not answer."""

    def __init__(self, path):
        self.open = partial(hosts_here, path)
        self.down, self.begun, self.go_on = False, threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, cluster):
        if self.down:
            raise ShardDownError("Shard 1 does not answer.")
        self.begun.set()
        assert self.go_on.wait(30)
        return self.open(cluster)


def test_nobody_moves_back(cluster):
    """One thread is slow to open a generation, and another opens the next one."""
    opening = Opening(cluster)
    with ClusterIndex(Here(cluster), opening) as index:
        names = list(index.ids())
        delete(cluster, names[0])
        opening.begun.clear()
        opening.go_on.clear()
        slow = threading.Thread(target=index.refresh)
        slow.start()
        assert opening.begun.wait(30)
        delete(cluster, names[1])
        wait, opening.go_on = opening.go_on, threading.Event()
        opening.go_on.set()
        quick = threading.Thread(target=index.refresh)
        quick.start()
        quick.join(1)
        wait.set()
        slow.join(30)
        quick.join(30)
        assert (index.generation, len(index)) == (3, len(names) - 2)


def test_a_server_goes_on_where_a_shard_does_not_answer(cluster, capsys):
    """It goes on looking for new generations; and what was committed is told as done."""
    opening, settings = Opening(cluster), Settings((str(cluster),))
    with Retriever(ClusterIndex(Here(cluster), opening), load_encoder()) as retriever:
        service = Service(settings)
        service.served["c"] = Served("c", retriever, retriever.search_batch)
        opening.down = True
        (answered,) = (
            Committer("c", retriever, threading.Event())
            ._together([Change(Adding([{"id": "new", "text": "A new text."}], 11), Job("c"), 0.0)])
            .answers
        )
        assert (answered[1]["generation"], answered[1]["added"]) == (2, 1)
        for _ in range(3):
            service._refresh()
        assert retriever.index.generation == 1
        (line,) = capsys.readouterr().err.splitlines()  # which is said once
        assert json.loads(line)["message"] == "Shard 1 does not answer."
        opening.down = False
        service._refresh()
        assert retriever.index.generation == 2
        assert retriever.get(["new"])
        cluster.rename(cluster.parent / "moved")
        cluster.mkdir()
        service._refresh()
        assert "There is no cluster at" in capsys.readouterr().err


def test_an_actor_answers_while_it_opens_a_generation(cluster):
    """It has a thread for that (the session of Ray asks it so); files that have to be pulled may take minutes."""
    began, go_on = threading.Event(), threading.Event()

    class Slow(Here):
        def shard(self, shard):
            if shard.generation > 1:
                began.set()
                assert go_on.wait(30)
            return super().shard(shard)

    old = read_cluster(cluster)
    with Index.open(cluster) as index:
        name = next(index.ids())
    actor, message = _ShardActor(Slow(cluster)), pickle.dumps(("numbers", ([name],)))
    assert pickle.loads(actor.call(tuple(old.shards[0]), message)) == ("returned", {name: 0})
    delete(cluster, name)
    new = read_cluster(cluster).shards[0]
    opening = threading.Thread(target=actor.call, args=(tuple(new), pickle.dumps(("ready", ()))))
    opening.start()
    assert began.wait(30)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(pickle.loads(actor.call(tuple(old.shards[0]), message))))
    asking.start()
    asking.join(5)
    assert answers == [("returned", {name: 0})]
    go_on.set()
    opening.join(30)
    assert pickle.loads(actor.call(tuple(new), message)) == ("returned", {})
    assert actor.opened() == [1, 2]


def test_nothing_is_started_for_a_cluster_without_a_model(tmp_path, monkeypatch):
    Index.create(tmp_path / "idx", [[np.eye(2, 4, dtype=np.float32)] * 2], nbits=16).close()
    split_index(tmp_path / "idx", tmp_path / "c", 2)
    monkeypatch.setattr(RayShards, "__init__", lambda *given: pytest.fail("a Ray was started"))
    with pytest.raises(ModelError, match="was made of embeddings: pass the model"):
        Cluster.open(tmp_path / "c", address="local")
