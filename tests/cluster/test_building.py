"""A cluster built of texts: the files that splitting one index gives, whoever works, in whatever order, and dies."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.cluster.processes import Processes
from tests.cluster.test_splitting import QUERIES, TEXTS, told
from tests.forking import fork
from xtrkit import Retriever
from xtrkit.cli.cluster_build import build
from xtrkit.cli.grouping import grouped
from xtrkit.cluster.building import ClusterMaking, Portions, build_cluster
from xtrkit.cluster.crew import InProcess
from xtrkit.cluster.dispatch import WorkerDownError
from xtrkit.cluster.holding import by_encoding
from xtrkit.cluster.parts import Partition, once
from xtrkit.cluster.splitting import split_index
from xtrkit.encoding import load_encoder
from xtrkit.errors import CollectionError, IndexLockedError, InputError
from xtrkit.indexing import postings, spool
from xtrkit.indexing.checking import verify
from xtrkit.indexing.spool import claim, workplace_of
from xtrkit.indexing.store import Store
from xtrkit.progress import Reporter

DOCUMENTS = [
    {"id": f"{name}-{copy}", "text": f"{text[:300]} This was said {copy + 3} times.", "copy": copy}
    for copy in range(2)
    for name, text in TEXTS.items()
]
SMALL = Portions(bytes=300, tokens=128)


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Blocks of 64 tokens, so that there are some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "BLOCK", 64)
        yield


@pytest.fixture(scope="module")
def encoder(small_blocks):
    return load_encoder()


@pytest.fixture(scope="module")
def index(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "idx"
    Retriever.create(path, DOCUMENTS, model=encoder).close()
    return path


@pytest.fixture(scope="module")
def undisturbed(encoder, tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "shards"
    build_cluster(DOCUMENTS, path, 3, model=encoder, making=ClusterMaking(portions=SMALL))
    return path


def files_of(path):
    """{path below: sha256} of all files."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file()
    }


def contents(path):
    """What files hold, but for manifests; those of segments and codecs have names of their own."""
    files = files_of(path).items()
    return {re.sub(r"-[0-9a-f]{8}(?=\.)", "", name): digest for name, digest in files if not name.endswith(".json")}


def facts_of(path):
    with closing(Store.open(path)) as store:
        return store.properties.record(), [facts.documents for facts in store.pin.manifest.segments]


def test_the_files_of_an_index_that_is_split(index, undisturbed, tmp_path):
    split_index(index, tmp_path / "split", 3)
    assert contents(undisturbed) == contents(tmp_path / "split")
    assert facts_of(undisturbed) == facts_of(tmp_path / "split")


@pytest.mark.parametrize("kept", [{"nbits": 2, "codec": "buckets"}, {"nbits": 16}], ids=str)
def test_other_codecs(encoder, kept, tmp_path):
    Retriever.create(tmp_path / "idx", DOCUMENTS, model=encoder, **kept).close()
    split_index(tmp_path / "idx", tmp_path / "split", 2)
    build_cluster(DOCUMENTS, tmp_path / "built", 2, model=encoder, making=ClusterMaking(**kept, portions=SMALL))
    assert contents(tmp_path / "built") == contents(tmp_path / "split")
    assert facts_of(tmp_path / "built") == facts_of(tmp_path / "split")


def test_the_same_answers_as_the_index(index, undisturbed):
    with Retriever.open(index) as one, Retriever.open(undisturbed) as built:
        assert list(built.index.ids()) == list(one.index.ids())
        for query in QUERIES:
            for choices in ({}, {"where": {"copy": 1}}, {"fusion": "rrf"}):
                assert told(built.search(query, 6, **choices), False) == told(one.search(query, 6, **choices), False)
    for shard in undisturbed.glob("shard-*"):
        assert verify(shard, full=True).ok


class Backwards(InProcess):
    """Does the last task first, and each twice."""

    def done(self, tasks):
        for task in reversed(tasks):
            self._worker.do(task)
            yield self._worker.do(task)


def test_portions_and_order_change_nothing(encoder, undisturbed, tmp_path):
    other = ClusterMaking(batch_size=3, portions=Portions(bytes=900, tokens=64))
    build_cluster(DOCUMENTS, tmp_path / "a", 3, model=encoder, making=other, hire=Backwards)
    assert contents(tmp_path / "a") == contents(undisturbed)
    build_cluster(DOCUMENTS, tmp_path / "b", 3, model=encoder, making=ClusterMaking(portions=SMALL), hire=Backwards)
    assert files_of(tmp_path / "b") == files_of(undisturbed)


class Deadly(Reporter):
    """Kills the process when it is told something for the nth time, in some phase or in any."""

    def __init__(self, die_at, within=None):
        object.__setattr__(self, "left", [die_at])
        object.__setattr__(self, "within", within)
        super().__init__()

    def tell(self, *amount):
        self.left[0] -= 1
        if self.left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def phase(self, description, total, unit="", done=0):
        if self.within not in (None, description):
            yield lambda amount: None
            return
        self.tell()
        yield self.tell
        self.tell()


def in_child(work):
    """Do something in a process of its own; whether it came to an end, which no kill prevented."""
    child = fork()
    if not child:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status == 0


def test_the_driver_is_killed_at_every_boundary(encoder, undisturbed, tmp_path):
    """In the nth run at the nth: each goes on from what the runs before have left."""
    making, deaths = ClusterMaking(portions=SMALL), 0

    def attempt():
        build_cluster(DOCUMENTS, tmp_path / "c", 3, model=encoder, making=making, reporter=Deadly(deaths + 1))

    while not (tmp_path / "c").exists():
        deaths += not in_child(attempt)
        assert deaths < 200
    assert deaths > 20
    if workplace_of(tmp_path / "c").exists():  # killed when all was in place
        with pytest.raises(InputError, match="exists already"):
            build_cluster(DOCUMENTS, tmp_path / "c", 3, model=encoder, making=making)
    assert files_of(tmp_path / "c") == files_of(undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


class Watched:
    """An encoder that counts the texts that it is given, and may be killed in the midst of them."""

    def __init__(self, encoder, die_after=None):
        self._encoder, self._die_after, self.texts = encoder, die_after, []

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def stream_documents(self, texts, **options):
        for text in texts:
            yield from self._encoder.stream_documents([text], **options)
            self.texts.append(text)
            if len(self.texts) == self._die_after:
                os.kill(os.getpid(), signal.SIGKILL)


def test_killed_within_a_partition(encoder, undisturbed, tmp_path):
    making = ClusterMaking(portions=SMALL)
    dying, watched = Watched(encoder, die_after=8), Watched(encoder)
    assert not in_child(lambda: build_cluster(DOCUMENTS, tmp_path / "c", 3, model=dying, making=making))
    workplace = workplace_of(tmp_path / "c")
    assert len(list(workplace.glob("attempt-*"))) == 1
    done = len(list(workplace.glob("vectors-*")))
    assert 0 < done < len(list(workplace.glob("texts-*")))
    build_cluster(DOCUMENTS, tmp_path / "c", 3, model=watched, making=making)
    assert len(DOCUMENTS) - 8 <= len(watched.texts) < len(DOCUMENTS)
    assert files_of(tmp_path / "c") == files_of(undisturbed)
    assert not workplace.exists()


def test_of_other_texts_no_more_is_encoded_than_must_be(encoder, tmp_path):
    making, watched = ClusterMaking(portions=SMALL), Watched(encoder)
    dying = Watched(encoder, die_after=len(DOCUMENTS))
    assert not in_child(lambda: build_cluster(DOCUMENTS, tmp_path / "c", 3, model=dying, making=making))
    changed = [*DOCUMENTS[:-1], {**DOCUMENTS[-1], "text": "Something else was said."}]
    build_cluster(changed, tmp_path / "c", 3, model=watched, making=making)
    assert "Something else was said." in watched.texts
    assert len(watched.texts) < 6
    with Retriever.open(tmp_path / "c") as built:
        assert built.get([DOCUMENTS[-1]["id"]])[0].text == "Something else was said."


def crew_of(**choices):
    """What hires processes, and the list that they are put on."""
    crews = []

    def hire(*given):
        crews.append(Processes(*given, **choices))
        return crews[0]

    return hire, crews


def test_workers_are_killed_in_each_phase(encoder, undisturbed, tmp_path):
    """One of each phase when it has just got a task, another when its part is there but for the name."""
    hire, crews = crew_of(kills=("begun", "made"))
    making = ClusterMaking(portions=SMALL)
    build_cluster(DOCUMENTS, tmp_path / "c", 3, model=encoder, making=making, hire=hire)
    methods = ("encode", "sample", "assign", "compress", "shard")
    assert crews[0].killed == [(method, how) for method in methods for how in ("begun", "made")]
    assert (crews[0].dispatcher.replaced, crews[0].together) == (10, 2)
    assert files_of(tmp_path / "c") == files_of(undisturbed)
    for shard in (tmp_path / "c").glob("shard-*"):
        assert verify(shard, full=True).ok
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_the_driver_is_killed_while_workers_work(encoder, undisturbed, tmp_path):
    """At the second thing that each phase tells; its workers end, whatever they were at."""
    making = ClusterMaking(portions=SMALL)
    phases = ("Encoding", "Picking a sample", "Assigning tokens", "Compressing tokens", "Writing shards")
    for phase in phases:
        hire, _ = crew_of(slow=0.02)
        deadly = Deadly(2, phase)
        assert not in_child(
            lambda hire=hire, deadly=deadly: build_cluster(
                DOCUMENTS, tmp_path / "c", 3, model=encoder, making=making, hire=hire, reporter=deadly
            )
        )
    hire, _ = crew_of()
    build_cluster(DOCUMENTS, tmp_path / "c", 3, model=encoder, making=making, hire=hire)
    assert files_of(tmp_path / "c") == files_of(undisturbed)


def test_workers_that_die_again_and_again(encoder, tmp_path):
    hire, crews = crew_of(kills=("begun", "begun", "begun"))
    with pytest.raises(WorkerDownError, match=r"3 workers died of vectors-000000-.*the same call goes on from here"):
        build_cluster(DOCUMENTS, tmp_path / "c", 3, model=encoder, hire=hire)
    assert len(crews[0].killed) == 3
    build_cluster(DOCUMENTS, tmp_path / "c", 3, model=encoder)


def test_what_workers_hold_is_bounded_in_bytes(encoder, tmp_path):
    """Slow workers: there is room for two of three, and what needs more than the room is done alone."""
    large = {"id": "large", "text": "Snow falls.", "note": "x" * 480_000}
    making = ClusterMaking(split=False, portions=Portions(bytes=1000, tokens=512))
    room = 2 * by_encoding(Partition("", 9, 1000), encoder.identity) + (1 << 20)
    hire, crews = crew_of(size=3, room=room, slow=0.03)
    build_cluster([*DOCUMENTS[:9], large], tmp_path / "c", 2, model=encoder, making=making, hire=hire)
    (crew,) = crews
    assert crew.together == 2
    alone = by_encoding(Partition("", 1, 480_000), encoder.identity)
    assert room < alone < crew.most < alone + 10_000
    assert crew.sent[0] < 1000  # names and counts
    assert crew.sent[1] < 200


def test_partitions_are_bounded_in_bytes_whatever_has_them(encoder, tmp_path):
    heavy = [{"id": f"é{n}", "text": "Mice eat cheese.", "note": "ü" * 400} for n in range(9)]
    dying = Watched(encoder, die_after=9)
    making = ClusterMaking(portions=Portions(bytes=2000))
    assert not in_child(lambda: build_cluster(heavy, tmp_path / "c", 2, model=dying, making=making))
    sizes = [path.stat().st_size for path in workplace_of(tmp_path / "c").glob("texts-*/*")]
    assert len(sizes) == 5
    assert max(sizes) <= 2000


def read_by_this_process():
    """Bytes that calls of read() have returned."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs /proc")
def test_who_directs_reads_the_sample_alone(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(postings, "SAMPLE_FLOATS", 128 * 40)
    read = {}

    class Reading(Reporter):
        @contextmanager
        def phase(self, description, total, unit="", done=0):
            read[description] = read_by_this_process()
            yield lambda amount: None

    hire, _ = crew_of()
    making = ClusterMaking(portions=SMALL)
    summary = build_cluster(DOCUMENTS, tmp_path / "c", 3, model=encoder, making=making, hire=hire, reporter=Reading())
    vectors, sample = 256 * summary.tokens, 256 * 40
    assert 10 * sample < vectors
    assert read["Finding centroids"] - read["Drawing a sample"] < 3 * sample
    Retriever.create(tmp_path / "idx", DOCUMENTS, model=encoder).close()
    split_index(tmp_path / "idx", tmp_path / "split", 3)
    assert contents(tmp_path / "c") == contents(tmp_path / "split")


def test_no_other_model_goes_on(encoder, tmp_path):
    making, dying = ClusterMaking(portions=SMALL), Watched(encoder, die_after=8)
    assert not in_child(lambda: build_cluster(DOCUMENTS, tmp_path / "c", 3, model=dying, making=making))
    other = load_encoder(document_length=100)
    with pytest.raises(InputError, match=r"has encoded with xtrkit-mini \(512 tokens, .*\), this one would with .*100"):
        build_cluster(DOCUMENTS, tmp_path / "c", 3, model=other, making=making)
    spool.remove(next(workplace_of(tmp_path / "c").glob("model-*")))  # of a build that had encoded nothing
    for part in workplace_of(tmp_path / "c").glob("vectors-*"):
        spool.remove(part)
    build_cluster(DOCUMENTS, tmp_path / "c", 3, model=other, making=making)


def test_fewer_shards_than_before(encoder, undisturbed, tmp_path):
    making, watched = ClusterMaking(portions=SMALL), Watched(encoder)
    deadly = Deadly(2, "Writing shards")
    assert not in_child(
        lambda: build_cluster(DOCUMENTS, tmp_path / "c", 5, model=encoder, making=making, reporter=deadly)
    )
    build_cluster(DOCUMENTS, tmp_path / "c", 3, model=watched, making=making)
    assert watched.texts == []
    assert files_of(tmp_path / "c") == files_of(undisturbed)


def test_of_two_attempts_one_is_kept(tmp_path):
    def make(directory):
        if not (tmp_path / "part").exists():  # somebody else is faster
            once(tmp_path, "part", make_plain)
        make_plain(directory)

    def make_plain(directory):
        (directory / "file").write_text("the same")

    assert once(tmp_path, "part", make) == tmp_path / "part"
    assert files_of(tmp_path).keys() == {"part/file"}
    with pytest.raises(ZeroDivisionError):
        once(tmp_path, "other", lambda directory: 1 / 0)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_what_is_refused(encoder, tmp_path):
    for n_shards, message in ((0, "whole number of at least 1, got 0"), (99, "passages, too few for 99 shards")):
        with pytest.raises(InputError, match=message):
            build_cluster(DOCUMENTS, tmp_path / "c", n_shards, model=encoder)
    with pytest.raises(InputError, match="exists already"):
        build_cluster(DOCUMENTS, tmp_path, 2, model=encoder)
    with pytest.raises(CollectionError, match="There is nothing to index"):
        build_cluster([], tmp_path / "c", 2, model=encoder)
    with pytest.raises(CollectionError, match="comes twice"):
        build_cluster(DOCUMENTS[:1] * 2, tmp_path / "c", 2, model=encoder)
    with pytest.raises(InputError, match="nbits must be"):
        ClusterMaking(nbits=3)
    with pytest.raises(InputError, match="at least one byte"):
        ClusterMaking(portions=Portions(0))
    with claim(workplace_of(tmp_path / "c")), pytest.raises(IndexLockedError, match="Another process is building"):
        build_cluster(DOCUMENTS, tmp_path / "c", 2, model=encoder)
    assert [path.name for path in tmp_path.iterdir()] == [".c.building"]


def test_what_is_refused_of_ray(encoder, tmp_path, monkeypatch):
    """Before anything is read, and nothing is left."""
    ray = pytest.importorskip("ray")
    from xtrkit.cluster.ray_workers import on_ray

    for workers in (0, -1, True, 1.5):
        with pytest.raises(InputError, match="number of workers must be a whole number of at least 1"):
            on_ray("local", workers)
    with pytest.raises(InputError, match="A worker has 0 GPUs or more, got -1"):
        on_ray("local", gpus=-1)
    with pytest.raises(InputError, match=r"No Ray answers at '127.0.0.1:1' .*: start one \(ray start --head\)"):
        on_ray("127.0.0.1:1")

    def joined(**given):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.61.0\nThis process: 2.60.0.\n")

    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", joined)
        hire = on_ray("nonsense")
        with pytest.raises(InputError, match=r"does not fit: Version mismatch: .* 2\.61\.0 .* same versions of Ray"):
            build_cluster(DOCUMENTS, tmp_path / "c", 2, model=encoder, hire=hire)
    monkeypatch.setattr(ray, "__version__", "2.9.3")
    with pytest.raises(InputError, match=r"Ray 2\.9\.3 is installed; xtrkit needs 2\.60 or newer"):
        on_ray("local")
    assert list(tmp_path.iterdir()) == []


def test_the_command(undisturbed, tmp_path):
    app = typer.Typer()
    app.command()(grouped(build))
    collection = tmp_path / "texts.jsonl"
    collection.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    ran = CliRunner().invoke(app, [str(collection), str(tmp_path / "c"), "--shards", "3", "--json"])
    assert json.loads(ran.stdout)["passages"] == len(DOCUMENTS)
    assert contents(tmp_path / "c") == contents(undisturbed)
    ran = CliRunner().invoke(app, [str(collection), str(tmp_path / "d"), "--shards", "3", "--workers", "2"])
    assert "say where it runs, --address local" in str(ran.exception)


BUILD_ON_RAY = """
import json, sys
from xtrkit.cluster.building import ClusterMaking, Portions, build_cluster
from xtrkit.cluster.ray_workers import on_ray
from tests.cluster.test_building import Deadly
documents, target, address, phase = json.load(open(sys.argv[1])), *sys.argv[2:]
making = ClusterMaking(portions=Portions(8000, 1))
build_cluster(documents, target, 5, making=making, hire=on_ray(address, 2), reporter=Deadly(2, phase))
"""
AT_WORK = ("Encoding", "Picking a sample", "Assigning tokens", "Compressing tokens", "Writing shards")
PHASES = ("Partitioning", *AT_WORK[:2], "Drawing a sample", "Finding centroids", AT_WORK[2], "Adding up clusters",
          *AT_WORK[3:], "Committing")  # fmt: skip


@pytest.mark.slow
def test_workers_and_driver_are_killed_on_ray(tmp_path, monkeypatch):
    """One worker in each phase; then whoever directs, in each phase, again and again. The Ray that they join lives."""
    ray = pytest.importorskip("ray")
    from xtrkit.cluster.ray_session import join, loaded_ray
    from xtrkit.cluster.ray_workers import Hiring, RayCrew

    monkeypatch.setattr(spool, "BLOCK", 1 << 15)  # as workers have it
    documents = [{"id": f"{name}-{n}", "text": f"{text} ({n})"} for n in range(60) for name, text in TEXTS.items()]
    making, crews, killed = ClusterMaking(portions=Portions(8000, 1)), [], []
    build_cluster(documents, tmp_path / "undisturbed", 5, making=making)
    expected = files_of(tmp_path / "undisturbed")

    def pid_of(actor):
        try:
            return ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
        except ray.exceptions.RayActorError:
            return None

    class Murderous(Reporter):
        """Kills a worker in each phase, one that is at work."""

        @contextmanager
        def phase(self, description, total, unit="", done=0):
            if description not in AT_WORK:
                yield lambda amount: None
                return
            (crew,) = crews
            pids = dict(
                enumerate(map(pid_of, crew._team.actors))
            )  # of one killed last, that nobody has missed yet, None

            def advance(amount):
                working = [place for place, task in crew._dispatcher._working.values() if task is not None]
                working = [place for place in working if pids[place] is not None]
                if description not in killed and working:
                    os.kill(pids[working[0]], signal.SIGKILL)
                    killed.append(description)

            yield advance

    def hire(*given):
        crews.append(RayCrew(Hiring("local", 3), *given))
        return crews[0]

    join(loaded_ray(), "local")
    try:
        build_cluster(documents, tmp_path / "workers", 5, making=making, hire=hire, reporter=Murderous())
        assert (killed, crews[0].replaced) == (list(AT_WORK), 5)
        assert files_of(tmp_path / "workers") == expected

        (tmp_path / "documents.json").write_text(json.dumps(documents))
        given = [str(tmp_path / "documents.json"), str(tmp_path / "driver"), ray.get_runtime_context().gcs_address]
        command = [sys.executable, "-c", BUILD_ON_RAY, *given]
        for phase in PHASES:
            died = subprocess.run([*command, phase], check=False, timeout=900)
            assert died.returncode == -signal.SIGKILL, phase
        subprocess.run([*command, "Nothing"], check=True, timeout=900)
        assert files_of(tmp_path / "driver") == expected
    finally:
        ray.shutdown()
    assert all(verify(shard, full=True).ok for shard in (tmp_path / "driver").glob("shard-*"))
    assert not workplace_of(tmp_path / "driver").exists()
