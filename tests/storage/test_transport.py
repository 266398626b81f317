"""Clusters and indexes through a store: a directory, memory, a server that speaks S3; what is cut off or damaged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.cluster.test_splitting import TEXTS as SHORT
from tests.commands import in_text
from tests.forking import fork
from tests.storage.s3 import s3_server
from xtrkit import Index, Retriever, load_encoder
from xtrkit.cluster.splitting import split_index
from xtrkit.errors import (
    IndexDamagedError,
    IndexExistsError,
    IndexFormatError,
    InputError,
    MissingExtraError,
    StorageError,
)
from xtrkit.indexing.checking import verify
from xtrkit.indexing.store import Store, opened_quantiser, properties_of
from xtrkit.passage import Passage
from xtrkit.progress import Reporter
from xtrkit.storage.generations import WRITER_LOCK, WriterLock, generations
from xtrkit.storage.manifest import manifest_name
from xtrkit.storage.shards import ClusterPin, cluster_generations, cluster_name, is_cluster, read_cluster
from xtrkit.storage.transport import store
from xtrkit.storage.transport.pulling import pull, pull_shard
from xtrkit.storage.transport.pushing import push
from xtrkit.storage.transport.remote_cluster import RemotePin, read_remote_cluster
from xtrkit.storage.transport.store import Remote

TEXTS = SHORT | {
    f"d{n}": f"On day {n} we saw {['whales', 'birds', 'nothing'][n % 3]} and ate bread." for n in range(24)
}
QUESTIONS = ["what do mice eat?", "whales and birds", "who wrote Emma?"]


@pytest.fixture(scope="module")
def s3():
    with s3_server("bucket") as found:
        yield found


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def queries(encoder):
    return encoder.encode_queries(QUESTIONS)


@pytest.fixture(scope="module")
def add(encoder):
    """Adds a document to an index or a cluster."""
    vectors = encoder.encode_documents(["Snow covers the whales."])

    def added(path, name):
        with Index.open(path) as opened, opened.writer() as writer:
            writer.add([Passage(name, "Snow covers the whales.")], vectors)

    return added


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("transport") / "idx"
    with Retriever.create(path, [{"id": name, "text": text} for name, text in TEXTS.items()]) as retriever:
        retriever.delete(["rain"])
    return path


@pytest.fixture(scope="module")
def first(index):
    """A cluster of one generation."""
    split_index(index, index.parent / "first", 3)
    return index.parent / "first"


@pytest.fixture(scope="module")
def second(first, add):
    """The same, and a generation more."""
    path = first.with_name("second")
    shutil.copytree(first, path)
    add(path, "snow")
    return path


@pytest.fixture(params=["file", "memory", "s3"])
def url(request, tmp_path):
    """A place with nothing in it."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    return {"file": f"file://{tmp_path}/store", "memory": f"memory://{tmp_path}", "s3": f"s3://bucket{tmp_path}"}[
        request.param
    ]


@pytest.fixture
def place(tmp_path):
    """A directory as a store, which tests may look into."""
    return tmp_path / "store"


def told(path, queries):
    """What an index or a cluster finds, to the last bit."""
    with Index.open(path) as opened:
        return [(found.ids, found.scores.tobytes()) for found in (opened.search(query, k=9) for query in queries)]


def files_of(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name != WRITER_LOCK
    }


def read_files(directory):
    """Names of the files of an index's newest generation."""
    with closing(Store.open(directory)) as store:
        return [file.name for file in store.pin.manifest.files]


def refused(kind, call, *arguments, **named):
    """The sentence with which something is refused."""
    with pytest.raises(kind) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- There and back ---------------------------------------------------------------------------------------------------


def test_another_machine_has_the_same_files(first, url, tmp_path, queries):
    pushed = push(first, url)
    assert (pushed.generation, pushed.shards) == (1, ("shard-0000", "shard-0001", "shard-0002"))
    assert push(first, url) == pushed._replace(
        copied=0, copied_bytes=0, kept=pushed.copied, kept_bytes=pushed.copied_bytes
    )
    assert pushed.copied == len(set(files_of(first).values()))  # the codec is in all shards, and copied once
    pulled = pull(url, tmp_path / "there")
    assert files_of(tmp_path / "there") == files_of(first)
    assert (pulled.copied, pulled.copied_bytes) == (len(files_of(first)), sum(map(len, files_of(first).values())))
    again = pull(url, tmp_path / "there")
    assert (again.copied, again.kept) == (0, pulled.copied)
    assert told(tmp_path / "there", queries) == told(first, queries)
    assert verify(tmp_path / "there", full=True).ok


def test_a_new_generation_costs_its_new_files(first, second, url, tmp_path, queries):
    push(first, url)
    pull(url, tmp_path / "there")
    new = files_of(second).keys() - files_of(first).keys()
    assert 2 < len(new) < 10
    pushed = push(second, url)
    assert (pushed.generation, pushed.copied) == (2, len(new))
    pulled = pull(url, tmp_path / "there")
    assert (pulled.generation, pulled.copied) == (2, len(new))
    assert told(tmp_path / "there", queries) == told(second, queries) != told(first, queries)
    assert cluster_generations(tmp_path / "there") == [1, 2]
    assert pull(url, tmp_path / "old", generation=1).generation == 1
    assert files_of(tmp_path / "old") == files_of(first)
    assert push(second, url, generation=1).copied == 0
    assert "has no generation 7: there are 1, 2." in refused(InputError, pull, url, tmp_path / "x", generation=7)


def test_an_index_goes_the_same_way(index, first, url, tmp_path):
    push(index, url)
    pull(url, tmp_path / "there")
    assert files_of(tmp_path / "there") == {
        name: content for name, content in files_of(index).items() if name != manifest_name(1)
    }
    assert "has no shards: pull all of it" in refused(InputError, pull, url, tmp_path / "x", shards=[0])
    assert "has an index, and" in refused(IndexExistsError, push, first, url)
    assert "has an index, no cluster" in refused(IndexFormatError, read_remote_cluster, url)
    push(first, f"{url}/shards")
    assert "has a cluster, and" in refused(IndexExistsError, push, index, f"{url}/shards/")
    assert "something else than that cluster" in refused(IndexExistsError, pull, f"{url}/shards", tmp_path / "there")


def test_some_shards(first, place, tmp_path, queries):
    push(first, str(place))
    there = tmp_path / "there"
    assert pull(str(place), there, shards=["2", "shard-0000"]).shards == ("shard-0000", "shard-0002")
    assert sorted(path.name for path in there.iterdir()) == [cluster_name(1), "shard-0000", "shard-0002", WRITER_LOCK]
    assert "shard-0001 is missing" in refused(IndexDamagedError, ClusterPin, there)
    pull(str(place), there, shards=[1])
    assert told(there, queries) == told(first, queries)
    for wrong in ([3], ["shard-9"], [-1], []):
        assert "Shards are named 0 to 2, or shard-0000 to shard-0002" in refused(
            InputError, pull, str(place), tmp_path / "x", shards=wrong
        )
    assert not (tmp_path / "x").exists()


def test_older_generations_go_when_nobody_reads_them(first, place, tmp_path, add, queries):
    changed, there = tmp_path / "changed", tmp_path / "there"
    shutil.copytree(first, changed)
    for number in range(4):
        push(changed, str(place))
        pull(str(place), there)
        shard = read_cluster(there).shards[0]
        pull_shard(str(place), tmp_path / "cache", shard)
        if number == 0:
            held = Index.open(there)
        add(changed, f"new{number}")
    assert cluster_generations(there) == [1, 3, 4]
    with held:
        assert held.search(queries[0], 3).ids
    (cached,) = (tmp_path / "cache").glob("*/shard-0000")
    assert len(generations(cached)) <= 2
    assert len([name for name in os.listdir(place) if name.startswith("cluster")]) == 4


# --- What a coordinator and its actors need ---------------------------------------------------------------------------


def test_a_coordinator_pulls_no_shard(first, url, tmp_path):
    push(first, url)
    assert read_remote_cluster(url) == read_cluster(first)
    there = RemotePin(url, tmp_path / "cache")
    with closing(ClusterPin(first)) as here:
        assert (there.cluster, there.manifest) == (here.cluster, here.manifest)
        assert [pin.manifest for pin in there.pins] == [pin.manifest for pin in here.pins]
        assert there.size == here.size - (first / cluster_name(1)).stat().st_size
        properties = properties_of(there)
        assert properties == properties_of(here)
        quantiser = opened_quantiser(there.directories()[0], there.manifest, properties)
        assert quantiser.n_clusters == opened_quantiser(here.directories()[0], here.manifest, properties).n_clusters
    assert sorted(path.name for path in there.directory.iterdir()) == [there.manifest.codec.name, WRITER_LOCK]
    there.close()


def test_an_actor_pulls_its_shard_once(first, place, tmp_path):
    push(first, str(place))
    shard = read_remote_cluster(str(place)).shards[1]
    directory = pull_shard(str(place), tmp_path / "cache", shard)
    assert files_of(directory) == files_of(first / "shard-0001")
    Store.open(directory, shard.generation).close()
    place.rename(tmp_path / "unreachable")
    assert pull_shard(f"{place}/", tmp_path / "cache", shard) == directory
    os.truncate(directory / read_files(directory)[0], 10)
    assert "is not there" in refused(IndexDamagedError, pull_shard, str(place), tmp_path / "cache", shard)
    (tmp_path / "unreachable").rename(place)
    assert pull_shard(str(place), tmp_path / "cache", shard) == directory
    assert files_of(directory) == files_of(first / "shard-0001")


PULL_SHARD = """
import sys
from xtrkit.storage.transport.pulling import pull_shard
from xtrkit.storage.transport.remote_cluster import read_remote_cluster
url, cache = sys.argv[1:]
print(pull_shard(url, cache, read_remote_cluster(url).shards[0]))
"""


def test_processes_that_pull_one_shard_wait_for_each_other(first, place, tmp_path):
    push(first, str(place))
    command = [sys.executable, "-c", PULL_SHARD, str(place), str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate(timeout=60)[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    (directory,) = said
    assert files_of(Path(directory)) == files_of(first / "shard-0000")


def test_pulls_of_one_directory_wait_for_each_other(first, place, tmp_path, monkeypatch):
    """And each file is copied once."""
    push(first, str(place))
    monkeypatch.setattr(store, "BLOCK", 4096)
    done, said = [], []

    class Told(Reporter):
        def note(self, text):
            said.append(text)

    def work():
        done.append(pull(str(place), tmp_path / "there", reporter=Told()))

    (tmp_path / "there").mkdir()
    with WriterLock(tmp_path / "there"):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        while len(said) < 2:
            assert not done
    for thread in threads:
        thread.join()
    assert sorted((one.copied, one.kept) for one in done) == [(0, 16), (16, 0)]
    assert "waiting" in said[0]
    assert files_of(tmp_path / "there") == files_of(first)


# --- What is damaged --------------------------------------------------------------------------------------------------


def objects(place):
    """{name of a file in the first shard, or what else it is: its path in a store}."""
    shard = read_remote_cluster(str(place)).shards[0]
    manifest = json.loads((place / "files" / shard.manifest).read_text().splitlines()[0])
    segment = manifest["segments"][0]
    found = {name: place / "files" / segment[name]["sha256"] for name in ("vectors", "passages", "words")}
    return found | {
        "codec": place / "files" / manifest["codec"]["sha256"],
        "manifest": place / "files" / shard.manifest,
    }


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    os.truncate(path, path.stat().st_size - 1)


def foreign(path):
    """Another file's content, of the same size or not."""
    path.write_bytes(max((one for one in path.parent.iterdir() if one != path), key=str).read_bytes())


HARMS = [flip, cut, foreign, Path.unlink]


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("what", ["vectors", "passages", "words", "codec", "manifest"])
def test_what_is_damaged_in_the_store_does_not_arrive(first, place, tmp_path, what, harm):
    push(first, str(place))
    path, there = objects(place)[what], tmp_path / "there"
    harm(path)
    sentence = refused(IndexDamagedError, pull, str(place), there)
    assert str(path) in sentence
    assert "push the generation again (xtrkit push)" in sentence
    if harm is flip:
        assert f"instead of {path.name}" in sentence
    assert not is_cluster(there)
    assert not list(there.glob("shard-0000/manifest*"))
    assert not [name for name, content in files_of(there).items() if content != files_of(first)[name]]
    path.unlink(missing_ok=True)
    assert push(first, str(place)).copied == 1
    kept = len(files_of(there))
    assert pull(str(place), there).kept == kept
    assert files_of(there) == files_of(first)


@pytest.mark.parametrize("harm", [flip, cut], ids=lambda harm: harm.__name__)
def test_a_damaged_cluster_manifest(first, place, tmp_path, harm):
    push(first, str(place))
    path = place / cluster_name(1)
    harm(path)
    sentence = refused(IndexDamagedError, pull, str(place), tmp_path / "there")
    assert f"{path} is not what was pushed" in sentence
    assert not (tmp_path / "there").exists()
    assert "another content" in refused(IndexExistsError, push, first, str(place))
    path.unlink()
    assert push(first, str(place)).copied == 1


def test_an_object_that_is_gone_or_cut_on_s3(first, s3, tmp_path):
    url = f"s3://bucket{tmp_path}"
    push(first, url)
    sizes = Remote(url).sizes()
    name = f"{url}/files/{max(sizes, key=sizes.get)}"
    content = s3.cat_file(name)
    s3.pipe_file(name, content[:-1])
    assert f"{name} " in (sentence := refused(IndexDamagedError, pull, url, tmp_path / "there"))
    assert f"has {len(content) - 1:,} bytes instead of {len(content):,}" in sentence
    s3.rm(name)
    assert "is not there (any more)" in refused(IndexDamagedError, pull, url, tmp_path / "there")
    s3.pipe_file(name, bytes(len(content)))
    assert "arrived with another content, sha256" in refused(IndexDamagedError, pull, url, tmp_path / "there")
    assert not is_cluster(tmp_path / "there")
    s3.rm(name)
    push(first, url)
    pull(url, tmp_path / "there")
    assert files_of(tmp_path / "there") == files_of(first)


def test_what_is_damaged_here_is_not_pushed(first, place, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(first, damaged)
    (vectors,) = (damaged / "shard-0001").glob("*.vectors.safetensors")
    flip(vectors)
    assert f"{vectors} is damaged" in refused(IndexDamagedError, push, damaged, str(place))
    assert not is_cluster(place)
    assert vectors.name not in os.listdir(place / "files")
    push(first, str(place))
    pull(str(place), tmp_path / "there")


def test_another_cluster_in_the_directory(first, second, place, tmp_path, add):
    """Of the same generations, and changed here."""
    push(first, str(place))
    pull(str(place), tmp_path / "there")
    add(tmp_path / "there", "here")
    push(second, str(place))
    before = files_of(tmp_path / "there")
    assert "or was changed here" in refused(IndexExistsError, pull, str(place), tmp_path / "there")
    assert files_of(tmp_path / "there") == before
    assert "another content" in refused(IndexExistsError, push, tmp_path / "there", str(place))


# --- What is interrupted ----------------------------------------------------------------------------------------------


def test_a_killed_pull_goes_on_where_it_was(first, place, tmp_path, monkeypatch):
    push(first, str(place))
    monkeypatch.setattr(store, "BLOCK", 8192)
    monkeypatch.setattr(store, "ABREAST", 1)
    blocks, read = Remote.blocks, []

    def counted(self, *arguments):
        for block in blocks(self, *arguments):
            read.append(len(block))
            yield block

    def killed(after):
        def begun(self, *arguments):
            for block in counted(self, *arguments):
                yield block
                if len(read) == after:
                    os.kill(os.getpid(), signal.SIGKILL)

        return begun

    monkeypatch.setattr(Remote, "blocks", counted)
    pull(str(place), tmp_path / "whole")
    total, n_blocks = sum(read), len(read)
    assert n_blocks > 30
    for after in range(1, n_blocks, 7):
        there = tmp_path / f"killed-{after}"
        read.clear()
        monkeypatch.setattr(Remote, "blocks", killed(after))
        if not (child := fork()):
            pull(str(place), there)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        assert not is_cluster(there)
        assert refused(IndexFormatError, Retriever.open, there)
        for shard in there.iterdir():
            assert not shard.is_dir() or not generations(shard) or Store.open(shard).close() is None
        monkeypatch.setattr(Remote, "blocks", counted)
        arrived = sum(map(len, files_of(there).values()))
        pull(str(place), there)
        assert sum(read) <= total - min(arrived, (after - 1) * 8192) + 3 * 8192
        assert files_of(there) == files_of(first)


def test_what_a_cut_left_that_is_wrong_is_thrown_away(first, place, tmp_path):
    """Such as zeros, where the power failed before all was on disk."""
    push(first, str(place))
    shard = tmp_path / "there" / "shard-0000"
    shard.mkdir(parents=True)
    sizes = [path for path in objects(place).values() if path.stat().st_size > 5000]
    for path in sizes:
        (shard / f"tmp-{path.name[:8]}").write_bytes(bytes(4999))
    pull(str(place), tmp_path / "there")
    assert files_of(tmp_path / "there") == files_of(first)


def test_a_push_that_stops_leaves_nothing_to_pull(first, place, tmp_path, monkeypatch):
    put, left = Remote.put, [5]

    def stops(self, *arguments):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        put(self, *arguments)

    monkeypatch.setattr(Remote, "put", stops)
    with pytest.raises(KeyboardInterrupt):
        push(first, str(place))
    assert "There is no cluster and no index" in refused(IndexFormatError, pull, str(place), tmp_path / "there")
    monkeypatch.undo()
    assert push(first, str(place)).kept == 4
    cut(max((place / "files").iterdir(), key=lambda path: path.stat().st_size))
    assert push(first, str(place)).copied == 1


# --- Two who push -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(index, tmp_path_factory):
    """Two clusters whose first generations differ."""
    path = tmp_path_factory.mktemp("others")
    split_index(index, path / "two", 2)
    split_index(index, path / "three", 3)
    return [path / "two", path / "three"]


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_of_two_who_push_one_wins(others, kind, tmp_path, monkeypatch, request):
    if kind == "s3":
        request.getfixturevalue("s3")
    put_if_absent = Remote.put_if_absent
    for number in range(2):
        url = {"file": str(tmp_path / f"{number}"), "s3": f"s3://bucket{tmp_path}/{number}"}[kind]
        both, outcomes = threading.Barrier(2, timeout=60), {}

        def meeting(self, *arguments, both=both):
            both.wait()  # both have pushed all files, and found no manifest
            return put_if_absent(self, *arguments)

        def work(path, url=url, outcomes=outcomes):
            try:
                outcomes[path] = push(path, url)
            except IndexExistsError as error:
                outcomes[path] = error

        monkeypatch.setattr(Remote, "put_if_absent", meeting)
        threads = [threading.Thread(target=work, args=(path,)) for path in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = [path for path, outcome in outcomes.items() if not isinstance(outcome, Exception)]
        (loser,) = [outcome for outcome in outcomes.values() if isinstance(outcome, Exception)]
        assert f"{url}/{cluster_name(1)} is there with another content" in str(loser)
        pull(url, tmp_path / f"there-{number}")
        assert files_of(tmp_path / f"there-{number}") == files_of(winner)


# --- What can't be used -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "kind", "sentence"),
    [
        ("", InputError, "'' names no place: expected a directory, or a URL such as s3://BUCKET/FOLDER"),
        ("s3:/bucket/x", InputError, "names no place"),
        ("s3://", InputError, "names no bucket"),
        ("nowhere://bucket/x", InputError, "Protocol not known: nowhere"),
        ("gs://bucket/x", MissingExtraError, "the package gcsfs: run pip install gcsfs"),
        ("sftp://host/x", MissingExtraError, "paramiko"),
    ],
)
def test_places_that_are_none(first, tmp_path, bad, kind, sentence):
    assert sentence in refused(kind, push, first, bad)
    assert sentence in refused(kind, pull, bad, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_place_with_nothing_or_a_file(first, url, tmp_path):
    assert f"There is no cluster and no index at {url}" in refused(IndexFormatError, pull, url, tmp_path / "there")
    push(first, url)
    file = f"{url}/{cluster_name(1)}"
    assert f"{file} is a file" in refused(InputError, pull, file, tmp_path / "there")
    assert f"{file} is a file" in refused(InputError, push, first, file)


def test_a_cluster_that_was_not_pushed(first, index, second, tmp_path):
    for path in (first, index):
        assert "is a cluster or an index itself" in refused(InputError, pull, str(path), tmp_path / "there")
        assert "is a cluster or an index itself" in refused(IndexExistsError, push, second, str(path))
        assert not (path / "files").exists()


def test_a_directory_that_has_something_else(index, first, place, tmp_path):
    push(first, str(place))
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("…")
    for taken in (full, index):
        assert "something else than that cluster" in refused(IndexExistsError, pull, str(place), taken)
    assert "is a file" in refused(IndexExistsError, pull, str(place), full / "thesis.txt")
    assert os.listdir(full) == ["thesis.txt"]
    (full / "thesis.txt").unlink()
    pull(str(place), full)


def test_a_bucket_that_is_not_there(first, s3, tmp_path):
    assert "There is no cluster" in refused(IndexFormatError, pull, "s3://nobodys/x", tmp_path / "there")
    sentence = refused(StorageError, push, first, "s3://nobodys/x")
    assert "s3://nobodys/x/files/" in sentence
    assert "Make the bucket first" in sentence


@pytest.mark.parametrize(
    ("environment", "reason", "hint"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "Unable to locate credentials", "Give credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect to the endpoint", "Look whether the URL"),
    ],
)
def test_a_store_that_can_not_be_asked(s3, tmp_path, monkeypatch, environment, reason, hint):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(s3).clear_instance_cache()
    sentence = refused(StorageError, pull, "s3://bucket/x", tmp_path / "there")
    type(s3).clear_instance_cache()
    assert sentence.startswith("s3://bucket/x: listing it failed")
    assert reason in sentence
    assert hint in sentence


def test_without_fsspec_or_the_package_of_a_store(first, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert "needs the extra 'remote': run pip install" in refused(MissingExtraError, push, first, "s3://bucket/x")


def test_nothing_loads_fsspec_before_it_is_asked_for(first):
    code = (
        "import sys, xtrkit, xtrkit.cli.app, xtrkit.storage.transport.pulling, xtrkit.storage.transport.pushing\n"
        f"xtrkit.Index.open({str(first)!r}).close()\n"
        "sys.exit('fsspec' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0


# --- The commands -----------------------------------------------------------------------------------------------------


def answer(*arguments):
    ran = in_text(*arguments)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_commands(first, second, place, tmp_path):
    there = tmp_path / "there"
    assert f"Pushed generation 1 of {first}: 14 files, " in (said := answer("push", first, place))
    assert f"On another machine: xtrkit pull {place} DIR" in said
    assert answer("push", first, place).startswith(f"Generation 1 of {first} is there already (14 files, ")
    found = json.loads(answer("push", second, place, "--json"))
    assert found["generation"] == 2
    assert 2 < found["copied"] < 10
    assert found["copied"] + found["kept"] == len(set(files_of(second).values())) - 2  # without manifests of the first
    found = json.loads(answer("pull", place, there, "--generation", 1, "--shard", 0, "--json"))
    assert (found["generation"], found["shards"]) == (1, ["shard-0000"])
    assert f"shard-0001, shard-0002 of generation 1 of {place} is in {there}: " in answer(
        "pull", place, there, "--generation", 1, "--shard", "shard-0002", "--shard", 1
    )
    assert "copied, " in answer("pull", place, there)
    assert answer("pull", place, there).startswith(f"Generation 2 of {place} is in {there} already (")
    assert json.loads(answer("search", there, QUESTIONS[0], "--json"))


def test_what_the_commands_refuse(first, place, tmp_path):
    for arguments in (
        ("push", tmp_path / "nothing", place),
        ("push", first, place, "--generation", 9),
        ("pull", place, tmp_path / "there"),
        ("pull", "nowhere://x", tmp_path / "there"),
    ):
        ran = in_text(*arguments)
        assert ran.returncode == 1
        assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert not place.exists()
