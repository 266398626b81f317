"""The commands on clusters, and what bad input gets; in this process, without a session of Ray."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from tests.cluster.test_splitting import TEXTS
from tests.commands import in_text
from xtrkit import Retriever
from xtrkit.cluster import ray_session
from xtrkit.cluster.cluster import Cluster
from xtrkit.cluster.engine import InProcess
from xtrkit.cluster.host import ShardHost
from xtrkit.cluster.index import ClusterIndex
from xtrkit.cluster.places import Here
from xtrkit.cluster.splitting import split_index
from xtrkit.errors import IndexDamagedError, InputError, MissingExtraError
from xtrkit.index import Index
from xtrkit.storage.shards import ClusterManifest, facts_of, read_cluster, write_cluster


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "idx"
    passages = [{"id": name, "text": text, "length": len(name)} for name, text in TEXTS.items()]
    with Retriever.create(path, passages) as retriever:
        retriever.delete(["rain"])
    return path


@pytest.fixture(scope="module")
def cluster(index):
    path = index.parent / "shards"
    assert answer("cluster", "split", index, path, "--shards", 3).count("shard-000") == 3
    return path


@pytest.fixture
def copy(cluster, tmp_path):
    """A cluster that a test may damage."""
    shutil.copytree(cluster, tmp_path / "c")
    return tmp_path / "c"


def answer(*arguments):
    ran = in_text(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def refusal(*arguments):
    """The sentence that a command says instead of doing something; nothing else is on standard error."""
    ran = in_text(*arguments)
    assert ran.returncode == 1, ran.stdout
    (line,) = ran.stderr.splitlines()
    return line.removeprefix("Error: ")


def found(path, *more):
    told = json.loads(answer("search", path, "what do mice eat?", "-k", 4, "--explain", "--json", *more))
    return [(hit["id"], hit["score"], hit["matches"]) for hit in told["hits"]]


def test_split_tells_what_was_made(index, tmp_path):
    told = json.loads(answer("cluster", "split", index, tmp_path / "c", "--shards", 2, "--json"))
    assert told["ok"]
    assert [shard["name"] for shard in told["shards"]] == ["shard-0000", "shard-0001"]
    assert told == json.loads(answer("cluster", "status", tmp_path / "c", "--json"))


def test_status(index, cluster):
    told = json.loads(answer("cluster", "status", cluster, "--json"))
    with Index.open(index) as one:
        assert sum(shard["living"] for shard in told["shards"]) == len(one)
        assert sum(shard["tokens"] for shard in told["shards"]) == one.n_tokens
        assert told["storage"] == one.storage
    for shard in told["shards"]:
        assert (shard["documents"], shard["generation"], shard["problem"]) == (shard["living"], 1, None)
        assert shard["replicas"] is None
    shown = answer("cluster", "status", cluster)
    assert f"{cluster}, generation 1: 3 shards, 4 bits, grid (codec {told['codec'][:12]})." in shown
    assert f"{told['shards'][2]['bytes']:,}" in shown
    assert "replicas" not in shown


def test_status_of_what_is_damaged(copy):
    shutil.rmtree(copy / "shard-0001")
    ran = in_text("cluster", "status", copy, "--json")
    assert ran.returncode == 1
    told = json.loads(ran.stdout)
    assert [bool(shard["problem"]) for shard in told["shards"]] == [False, True, False]
    assert "shard-0001 is missing: bring it back" in told["shards"][1]["problem"]
    assert "shard-0001 is missing: bring it back" in in_text("cluster", "status", copy).stdout


def write_judged(folder):
    """A test collection of one query."""
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "what do mice eat?"}\n')
    (folder / "corpus.jsonl").write_text('{"_id": "mice", "text": "Mice eat cheese and seeds."}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\tmice\t1\n")


def test_searching_and_telling(index, cluster, tmp_path):
    assert found(cluster) == found(index)
    assert found(cluster, "--fusion", "rrf") == found(index, "--fusion", "rrf")
    facts = [json.loads(answer("info", path, "--json")) for path in (index, cluster)]
    assert [one["tokens"] for one in facts] == [facts[0]["tokens"]] * 2
    (tmp_path / "q.tsv").write_text("1\twhat do mice eat?\n2\twho wrote Emma?\n")
    for path in (index, cluster):
        answer("run", path, tmp_path / "q.tsv", "-o", tmp_path / f"{path.name}.trec")
    assert (tmp_path / "idx.trec").read_bytes() == (tmp_path / "shards.trec").read_bytes()
    write_judged(tmp_path / "b")
    told = json.loads(answer("evaluate", cluster, tmp_path / "b", "--json"))
    assert '"nDCG@10": 1.0' in json.dumps(told)


@pytest.mark.parametrize(
    "command",
    [
        ("repair", "DIR", "--drop-segment", "s"),
        ("repair", "DIR", "--reencode", "s"),
        ("repair", "DIR", "--words"),
        ("repair", "DIR", "--forget-sources"),
    ],
    ids=str,
)
def test_what_repairs_an_index_is_refused(cluster, command):
    before = sorted(cluster.rglob("*"))
    words = [cluster if word == "DIR" else word for word in command]
    assert refusal(*words).startswith(f"{cluster} is a cluster of shards: this is done to an index that is not one")
    assert sorted(cluster.rglob("*")) == before


def test_backup(cluster, tmp_path):
    assert answer("backup", cluster, tmp_path / "copy") == f"Copied generation 1 to {tmp_path / 'copy'}.\n"
    assert found(tmp_path / "copy") == found(cluster)
    assert answer("verify", tmp_path / "copy", "--full").endswith("all is what was written.\n")
    assert "exists already" in refusal("backup", cluster, tmp_path / "copy")


def verified(path, *more):
    ran = in_text("verify", path, "--json", *more)
    told = json.loads(ran.stdout)
    assert ran.returncode == (not told["ok"])
    return told


def test_verify_where_all_is_well(cluster):
    told = verified(cluster)
    assert told["ok"]
    assert told["generation"] == 1
    assert "Of 3 shards only sizes and structure were looked at" in told["not_checked"]
    assert verified(cluster, "--full")["not_checked"] is None


def test_verify_names_the_shard(copy):
    shutil.rmtree(copy / "shard-0000")
    (vectors,) = (copy / "shard-0002").glob("*.vectors.safetensors")
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 255
    vectors.write_bytes(content)
    (missing,) = verified(copy)["problems"]
    assert missing["file"] == "shard-0000"
    assert "shard-0000 is missing" in missing["problem"]
    told = verified(copy, "--full")
    assert [problem["file"] for problem in told["problems"]] == ["shard-0000", f"shard-0002/{vectors.name}"]
    assert told["problems"][1]["segment"].startswith("shard-0002/s")
    assert told["problems"][1]["ids"]
    assert "No repair fits: put a backup in its place" in in_text("verify", copy, "--full").stdout


def test_changing(copy, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("Whales are the largest animals.")
    (folder / "b.md").write_text("Bees make honey.")
    assert "generation 2 has" in answer("add", copy, folder / "a.md")
    assert "generation 3 has" in answer("sync", folder, copy)
    assert found(copy, "--fusion", "rrf") == found(split_again(copy, tmp_path), "--fusion", "rrf")
    assert (
        "already up to date" in answer("sync", folder, copy).lower()
        or "nothing" in answer("sync", folder, copy).lower()
    )
    (folder / "b.md").unlink()
    assert "generation 4 has" in answer("sync", folder, copy)
    assert "generation 5 has" in answer("delete", copy, "a.md")
    assert " 3 segments." in answer("compact", copy)
    assert json.loads(answer("cluster", "status", copy, "--json"))["generation"] >= 5
    assert "No document of this index has the id 'a.md'" in refusal("delete", copy, "a.md")
    assert verified(copy, "--full")["ok"]


def split_again(path, tmp_path):
    """The same documents in two shards."""
    split_index(path, tmp_path / "again", 2)
    return tmp_path / "again"


def test_verify_looks_at_the_generation_that_the_cluster_names(copy, tmp_path):
    shutil.move(copy / "shard-0002", tmp_path / "alone")  # where it is no shard, and can be changed
    with Index.open(tmp_path / "alone") as shard:
        shard.delete([next(shard.ids())])
    shutil.copytree(tmp_path / "alone", copy / "shard-0002")
    assert verified(copy, "--full")["ok"]  # it is still there, and the one that is searched
    shutil.rmtree(copy / "shard-0002")
    with Index.open(tmp_path / "alone") as shard:
        shard.compact()
    shutil.move(tmp_path / "alone", copy / "shard-0002")
    (problem,) = verified(copy, "--full")["problems"]
    assert "has no generation 1 (any more)" in problem["problem"]


def test_verify_of_a_damaged_cluster_manifest(copy):
    (manifest,) = copy.glob("cluster-*.json")
    manifest.write_bytes(manifest.read_bytes().replace(b"shard-0001", b"shard-0002"))
    (problem,) = verified(copy)["problems"]
    assert problem["file"] == manifest.name
    assert "another sha256" in problem["problem"]


def remade(path, names):
    """A cluster manifest of other shards."""
    old = read_cluster(path)
    shards = tuple(facts_of(path, name, 1) for name in names)
    write_cluster(path, ClusterManifest(2, old.created_by, old.codec, shards))


def test_ids_that_are_in_two_shards(copy):
    shutil.copytree(copy / "shard-0000", copy / "shard-0003")
    remade(copy, ["shard-0000", "shard-0001", "shard-0003"])
    assert verified(copy)["ok"]  # ids are not read without --full
    (problem,) = verified(copy, "--full")["problems"]
    assert problem["file"] == "shard-0003"
    assert "ids of" in problem["problem"]
    assert "are in shard-0000, too" in problem["problem"]
    with Index.open(copy / "shard-0000") as shard:
        assert problem["ids"] == sorted(shard.ids())


def test_a_shard_with_another_codec(copy, tmp_path):
    Retriever.create(tmp_path / "other", ["something else", "and more"]).close()
    split_index(tmp_path / "other", tmp_path / "split", 1)
    shutil.copytree(tmp_path / "split" / "shard-0000", copy / "shard-0003")
    remade(copy, ["shard-0000", "shard-0003"])
    for command in (("search", copy, "q"), ("search", copy, "q", "--address", "local")):
        assert "shard-0003 has another codec than the cluster" in refusal(*command)
    (problem,) = verified(copy)["problems"]
    assert problem["file"] == "shard-0003"
    assert "has another codec than the cluster" in problem["problem"]


def test_what_is_wrong_on_disk_is_told_before_ray_starts(index, cluster, copy):
    shutil.rmtree(copy / "shard-0001")
    with pytest.raises(IndexDamagedError, match="shard-0001 is missing"):
        Cluster.open(copy, address="local")
    for command in (
        ("search", index, "q", "--address", "local"),
        ("cluster", "status", index),
        ("cluster", "serve", index, "--port", 0),
    ):
        assert refusal(*command) == f"There is no cluster at {index}: make one of an index with xtrkit cluster split."
    assert refusal("search", cluster, "q", "--address", "local", "--device", "cpu") == (
        "Shards on Ray are searched on CPUs: leave out --device, or --address."
    )


def test_what_evaluate_and_sweep_refuse_of_an_address(index, cluster, tmp_path):
    write_judged(tmp_path)
    assert refusal("evaluate", tmp_path, "--address", "local") == (
        "There is no cluster to search at --address local: give its directory, too."
    )
    for command in ("evaluate", "sweep"):
        assert "There is no cluster at" in refusal(command, index, tmp_path, "--address", "local")
        assert refusal(command, cluster, tmp_path, "--address", "local", "--device", "cpu") == (
            "Shards on Ray are searched on CPUs: leave out --device, or --address."
        )


def test_what_shards_compute_is_in_the_times_of_a_sweep(cluster):
    hosts = [ShardHost(cluster / shard.name, shard) for shard in read_cluster(cluster).shards]
    with ClusterIndex(Here(cluster), lambda _: InProcess(hosts)) as opened:
        begin = time.process_time()
        counted = opened.cpu_seconds()
        assert 4 * begin <= counted <= 4 * time.process_time()  # this process, and three shards that are in it


def test_without_ray(cluster, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match="A cluster on more than one process needs the extra 'ray'"):
        Cluster.open(cluster, address="local")
    assert "needs the extra 'ray'" in refusal("cluster", "status", cluster, "--address", "auto")
    assert "needs the extra 'ray'" in refusal("cluster", "serve", cluster, "--port", 0)
    with Cluster.open(cluster) as opened:
        assert opened.search("what do mice eat?")[0].id == "mice"


def test_with_a_ray_that_is_too_old(cluster, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "__version__", "2.9.3")
    with pytest.raises(InputError, match=r"Ray 2\.9\.3 is installed; xtrkit needs 2\.60 or newer: upgrade it\."):
        Cluster.open(cluster, address="local")


@contextmanager
def listening(answer):
    """An address at which somebody listens who is no Ray, and answers once."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(60)

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)
                ended.wait(60)

        ended, thread = threading.Event(), threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        thread.join()


def test_an_address_at_which_nothing_listens(cluster):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        begin = time.monotonic()
        sentence = refusal("search", cluster, "q", "--address", address)
    assert sentence.startswith(f"No Ray answers at '{address}' (")
    assert sentence.endswith("): start one (ray start --head), or use --address local.")
    assert time.monotonic() - begin < 60  # Ray alone waits four minutes
    assert "Invalid address format" in refusal("search", cluster, "q", "--address", "nonsense")
    with pytest.raises(InputError, match='is "local", "auto" or HOST:PORT, got 6379'):
        Cluster.open(cluster, address=6379)


@pytest.mark.parametrize(("answer", "reason"), [(b"HTTP/1.1 400 no\r\n\r\n", "something else"), (b"", "timed out")])
def test_an_address_of_something_else(cluster, monkeypatch, answer, reason):
    monkeypatch.setattr(ray_session, "CONNECT_S", 0.5)
    with listening(answer) as address, pytest.raises(InputError, match=f"No Ray answers at '{address}' .*{reason}"):
        Cluster.open(cluster, address=address)


def test_status_asks_no_ray_of_its_own(cluster):
    assert "has no shards" in refusal("cluster", "status", cluster, "--address", "local")


def test_nothing_loads_ray_before_it_is_asked_for(cluster):
    code = (
        "import sys, xtrkit, xtrkit.cluster.cluster, xtrkit.cli.app, xtrkit.serving.running\n"
        f"xtrkit.Retriever.open({str(cluster)!r}).search('mice')\n"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


def test_routers_that_there_cant_be(cluster):
    serve = ("cluster", "serve", cluster, "--address", "local")
    assert "without --routers" in refusal(*serve, "--max-routers", 4)
    assert "got 4 to 2" in refusal(*serve, "--routers", 4, "--max-routers", 2)
    assert "Either processes of this machine answer" in refusal(*serve, "--routers", 2, "--workers", 2)
