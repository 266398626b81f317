"""Forked children search, encode and end; and what their parent is writing stays the parent's."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.encoding import checkpoint_factory as factory
from xtrkit import Index, Retriever
from xtrkit.encoding import load_encoder
from xtrkit.encoding.runtime_onnx import OnnxGraph
from xtrkit.errors import IndexLockedError, InputError
from xtrkit.machine import usable_cores

HANGS_AFTER = 60
PASSAGES = ["the lighthouse keeper wrote it down", "mice eat cheese", "late interaction of tokens"]
FORKS_WARN = "ignore:This process .* is multi-threaded:DeprecationWarning"
pytestmark = pytest.mark.filterwarnings(FORKS_WARN)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("fork") / "idx"
    Retriever.create(path, PASSAGES).close()
    return path


def script(body, *arguments):
    """Run a program of its own: it must end, and end well."""
    # It forks with threads on purpose.
    source = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + textwrap.dedent(body)
    command = [sys.executable, "-c", source, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=HANGS_AFTER)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, err
    return out.split("\n")[:-1]


def in_child(work):
    """What becomes of a forked child that does something: its exit code; one that hangs is ended by a signal."""
    child = os.fork()
    if not child:
        signal.alarm(HANGS_AFTER)
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


SEARCHING = """
    import os, sys
    from xtrkit import Retriever
    retriever = Retriever.open(sys.argv[1])
    before = retriever.search_batch(["who wrote it", "what do mice eat"])
    for ending in {endings!r}:
        child = os.fork()
        if not child:
            after = retriever.search_batch(["who wrote it", "what do mice eat"])
            same = [a.ids for a in after] == [b.ids for b in before]
            again = retriever.search("cheese").ids[0] == "1" and len(retriever.get(["1"])[0].text) > 3
            if not (same and again):
                os._exit(3)
            exec(ending)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), retriever.search("cheese").ids[0])
"""


def test_children_search_and_end(index):
    endings = {"sys.exit(0)": 0, "os._exit(0)": 0, "raise SystemExit(7)": 7, "retriever.close(); sys.exit(0)": 0}
    assert script(SEARCHING.format(endings=list(endings)), index) == [f"{code} 1" for code in endings.values()]


def test_a_child_that_does_nothing_ends_by_reaching_the_end(index):
    body = """
        import os, sys
        from xtrkit import Retriever
        retriever = Retriever.open(sys.argv[1])
        retriever.search("cheese")
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            print(status)
    """
    assert script(body, index) == ["0"]


def test_processes_and_pools_of_multiprocessing_search(index):
    body = """
        import multiprocessing, sys
        from xtrkit import Retriever
        fork = multiprocessing.get_context("fork")
        retriever = Retriever.open(sys.argv[1])
        def found(query):
            return retriever.search(query).ids[0]
        def told(queue, query):
            queue.put(found(query))
        queries = ["mice", "cheese", "lighthouse", "tokens"] * 3
        found("mice")
        with fork.Pool(2) as pool:
            print(pool.map(found, queries) == [found(query) for query in queries])
        queue = fork.Queue()
        process = fork.Process(target=told, args=(queue, "mice"))
        process.start()
        print(queue.get(timeout=50))
        process.join(50)
        print(process.exitcode)
    """
    assert script(body, index) == ["True", "1", "0"]


def test_a_childs_child_encodes():
    encoder = load_encoder()
    right = encoder.encode_queries(["late", "interaction"]).rows

    def encodes():
        np.testing.assert_array_equal(encoder.encode_queries(["late", "interaction"]).rows, right)

    def child():
        encodes()
        assert in_child(encodes) == 0

    assert in_child(child) == 0
    encodes()


def test_a_torch_encoder_encodes_in_a_child(tmp_path):
    directory = factory.write_xtr(tmp_path / "xtr")
    body = """
        import os, sys
        import torch
        torch.set_num_threads(4)
        from xtrkit import load_encoder
        encoder = load_encoder(sys.argv[1])
        texts = ["late interaction of tokens " * 30] * 16
        big = torch.randn(1000, 1000) @ torch.randn(1000, 1000)
        right = encoder.encode_documents(texts).rows
        child = os.fork()
        if not child:
            big = torch.randn(1000, 1000) @ torch.randn(1000, 1000)
            assert abs(encoder.encode_documents(texts).rows - right).max() < 1e-4
            sys.exit(0)
        print(os.waitpid(child, 0)[1])
    """
    assert script(body, directory) == ["0"]


def test_an_openvino_encoder_encodes_in_a_child(tmp_path):
    from xtrkit.encoding.export import export

    export(factory.write_stanford(tmp_path / "colbert"), tmp_path / "exported", runtime="openvino")
    body = """
        import os, sys
        from xtrkit import load_encoder
        encoder = load_encoder(sys.argv[1])
        right = encoder.encode_documents(["late", "token"]).rows
        child = os.fork()
        if not child:
            assert abs(encoder.encode_documents(["late", "token"]).rows - right).max() < 1e-5
            sys.exit(0)
        print(os.waitpid(child, 0)[1])
    """
    assert script(body, tmp_path / "exported") == ["0"]


def test_forks_amid_searches_of_other_threads_all_end(index):
    retriever, ended = Retriever.open(index), threading.Event()

    def search():
        while not ended.is_set():
            retriever.search("who wrote it")
            retriever.get(["0", "1", "2"])

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            assert in_child(lambda: (retriever.get(["1"]), retriever.search("cheese"))) == 0
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("ending", ["sys.exit(0)", "pass", "raise ValueError", "os._exit(0)"])
def test_a_child_leaves_its_parents_writer_alone(tmp_path, ending):
    path = tmp_path / "idx"
    Index.create(path, [[np.eye(2, 4, dtype=np.float32)]], ids=["a"], nbits=16).close()
    body = f"""
        import os, sys
        import numpy as np
        from xtrkit import Index
        from xtrkit.indexing import writer as module
        module.STAGED_BYTES = 1
        index = Index.open(sys.argv[1])
        child = 1
        try:
            with index.writer() as writer:
                writer.add(["b", "c"], [np.eye(2, 4, dtype=np.float32)] * 2)
                child = os.fork()
                if not child:
                    index.get(["a"])
                    {ending}
                else:
                    print(os.waitpid(child, 0)[0] == child)
                    writer.add(["d"], [np.eye(2, 4, dtype=np.float32)])
        except (SystemExit, ValueError):
            sys.exit(0)
        if child:
            index.refresh()
            print(sorted(index.ids()))
    """
    assert script(body, path) == ["True", "['a', 'b', 'c', 'd']"]
    assert not Index.open(path).verify(full=True).problems


def test_a_child_has_not_its_parents_right_to_write(tmp_path):
    path = tmp_path / "idx"
    Index.create(path, [[np.eye(2, 4, dtype=np.float32)]], ids=["a"], nbits=16).close()
    index = Index.open(path)
    writer = index.writer()

    def add():
        with pytest.raises(InputError, match="belongs to the process that this one was forked from"):
            writer.add(["b"], [np.eye(2, 4, dtype=np.float32)])
        with pytest.raises(IndexLockedError):
            Index.open(path).delete(["a"])
        writer.close()

    assert in_child(add) == 0
    # A child that lives on does not hold the lock that its parent gives back.
    child = os.fork()
    if not child:
        time.sleep(HANGS_AFTER)
        os._exit(0)
    try:
        writer.add(["b"], [np.eye(2, 4, dtype=np.float32)])
        writer.commit()
        Index.open(path).delete(["a"])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("ending", ["sys.exit(0)", "raise ValueError"])
def test_a_child_forked_amid_a_build_does_not_take_the_build_along(tmp_path, ending):
    body = f"""
        import os, sys
        from xtrkit import Retriever
        def passages():
            global child
            yield "the first passage"
            child = os.fork()
            if not child:
                {ending}
            os.waitpid(child, 0)
            yield "the second passage"
        try:
            Retriever.create(sys.argv[1], passages())
        except ValueError as error:
            if child:
                raise
            sys.exit(0)
        print(len(Retriever.open(sys.argv[1])))
    """
    assert script(body, tmp_path / "idx") == ["2"]


# Cores.


def laid_out(root: Path, cgroup: str, mounts, files) -> Path:
    """A process's ``cgroup`` and ``mountinfo``, and the directories of its control groups."""
    proc = root / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    lines = [
        f"{n} 1 0:{n} {inside} {root / point} rw shared:{n} - {kind} {kind} {options}"
        for n, (inside, point, kind, options) in enumerate(mounts, 30)
    ]
    (proc / "mountinfo").write_text("\n".join(lines) + "\n")
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return proc


V2 = [("/", "cg", "cgroup2", "rw,nsdelegate")]
V1 = [("/", "cg/cpu", "cgroup", "rw,cpu,cpuacct"), ("/", "cg/memory", "cgroup", "rw,memory")]
LAYOUTS = {
    "its own": ("0::/a/b\n", V2, {"cg/a/b/cpu.max": "100000 100000\n"}, 1),
    "an ancestor's": ("0::/a/b\n", V2, {"cg/a/cpu.max": "50000 100000\n", "cg/a/b/cpu.max": "max 100000\n"}, 1),
    "of a container that is its own root": ("0::/\n", V2, {"cg/cpu.max": "20000 100000\n"}, 1),
    "seen under the host's name": (
        "0::/docker/abc/inner\n", [("/docker/abc", "cg", "cgroup2", "rw")], {"cg/inner/cpu.max": "90000 100000"}, 1,
    ),
    "version 1": (
        "4:memory:/x\n3:cpu,cpuacct:/x\n", V1,
        {"cg/cpu/x/cpu.cfs_quota_us": "30000\n", "cg/cpu/x/cpu.cfs_period_us": "100000\n"}, 1,
    ),
    "version 1 of an ancestor": (
        "3:cpu,cpuacct:/x/y\n", V1,
        {"cg/cpu/x/cpu.cfs_quota_us": "100000", "cg/cpu/x/cpu.cfs_period_us": "100000",
         "cg/cpu/x/y/cpu.cfs_quota_us": "-1", "cg/cpu/x/y/cpu.cfs_period_us": "100000"}, 1,
    ),
    "more than there are": ("0::/a\n", V2, {"cg/a/cpu.max": "9900000 100000"}, None),
    "none": ("0::/a\n", V2, {"cg/a/cpu.max": "max 100000"}, None),
    "of another group": ("0::/a\n", V2, {"cg/b/cpu.max": "10000 100000"}, None),
    "unreadable": ("0::/a\n", V2, {"cg/a/cpu.max": "what 0 is this"}, None),
    "garbage": ("nonsense\n\n0\n", V2, {}, None),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_quota_of_control_groups_counts(tmp_path, layout):
    cgroup, mounts, files, cores = LAYOUTS[layout]
    proc = laid_out(tmp_path, cgroup, mounts, files)
    assert usable_cores(proc) == (cores or len(os.sched_getaffinity(0)))


def test_a_quota_is_rounded_up(tmp_path):
    proc = laid_out(tmp_path, "0::/a\n", V2, {"cg/a/cpu.max": "110000 100000"})
    assert usable_cores(proc) == min(2, len(os.sched_getaffinity(0)))


def test_without_control_groups_the_affinity_counts(tmp_path):
    assert usable_cores(tmp_path / "nowhere") == len(os.sched_getaffinity(0))
    body = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from xtrkit import load_encoder
        from xtrkit.encoding.runtime_onnx import thread_count
        from xtrkit.machine import usable_cores
        print(usable_cores(), thread_count(None), load_encoder()._graph.threads)
    """
    assert script(body) == ["1 1 1"]


def test_an_encoder_computes_on_as_many_threads_as_it_may_use():
    graph = load_encoder()._graph
    assert isinstance(graph, OnnxGraph)
    assert graph.threads == usable_cores()
