"""Array files: what we write, the safetensors library reads; what we read, it accepts too."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from xtrkit.errors import IndexDamagedError, StorageError
from xtrkit.storage.arrays import ALIGNMENT, NAMES, ArraySpec, ArrayWriter, open_arrays, write_arrays
from xtrkit.storage.files import facts_of

arrays = st.dictionaries(
    st.text("abc_é", min_size=1, max_size=6),
    hnp.arrays(
        st.sampled_from(sorted(NAMES, key=str)),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
        elements={"allow_nan": False},
        fill=st.nothing(),
    ),
    max_size=4,
)


@given(arrays)
def test_what_is_written_is_what_is_read(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("arrays") / "file"
    facts = write_arrays(path.parent, path.name, written)
    assert facts == facts_of(path)
    read = open_arrays(path)
    assert list(read) == list(written)
    for name, values in written.items():
        assert read[name].dtype == values.dtype
        assert np.array_equal(read[name], values)
        assert not read[name].flags.writeable
        assert not values.nbytes or read[name].ctypes.data % ALIGNMENT == 0
    safetensors = pytest.importorskip("safetensors.numpy")
    theirs = safetensors.load_file(path)
    assert all(np.array_equal(theirs[name], values) for name, values in written.items())


def test_files_of_the_safetensors_library_can_be_read(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    written = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(5, dtype=np.uint8)}
    safetensors.save_file(written, tmp_path / "file", metadata={"by": "them"})
    read = open_arrays(tmp_path / "file")
    assert all(np.array_equal(read[name], values) for name, values in written.items())


def test_a_file_is_written_block_by_block_without_being_in_memory(tmp_path):
    specs = {"codes": ArraySpec("|u1", (3000, 100)), "scales": ArraySpec("<f2", (3000,))}
    codes = np.random.default_rng(0).integers(0, 256, (3000, 100), dtype=np.uint8)
    with ArrayWriter(tmp_path, "file", specs) as writer:
        for first in range(0, 3000, 700):
            writer.append("codes", codes[first : first + 700])
        writer.append("scales", np.ones(3000, dtype=np.float16))
        facts = writer.finish()
    assert np.array_equal(open_arrays(tmp_path / "file")["codes"], codes)
    assert facts == facts_of(tmp_path / "file")


@pytest.mark.parametrize("blocks", [[("a", 3)], [("a", 5)], [("b", 4), ("a", 4)], [("a", 4)]])
def test_what_does_not_fit_the_specs_leaves_no_file(tmp_path, blocks):
    specs = {"a": ArraySpec("<f4", (4,)), "b": ArraySpec("<f4", (4,))}
    with pytest.raises(ValueError, match="bytes"), ArrayWriter(tmp_path, "file", specs) as writer:  # noqa: PT012
        for name, size in blocks:
            writer.append(name, np.zeros(size, dtype=np.float32))
        writer.finish()
    assert not list(tmp_path.iterdir())


def test_a_file_is_never_written_over(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StorageError, match=r"file: creating it failed .File exists"):
        write_arrays(tmp_path, "file", {"a": np.zeros(1)})
    assert (tmp_path / "file").read_bytes() == b"mine"


def _file(entries, data=b"", text=None):
    text = json.dumps(entries).encode() if text is None else text
    return len(text).to_bytes(8, "little") + text + data


def entry(**other):
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **other}}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no possible length"),
        (b"\xff" * 8 + b"{}", "no possible length"),
        (_file({}, text=b""), "no possible length"),
        (_file({}, text=b" {}"), "does not begin with {"),
        (_file({}, text=b"{" + b'"a":{' * 5000), "recursion|delimiter|Expecting"),
        (_file({}, text=b'{"\xff": 1}'), "utf-8"),
        (_file({}, text=b'{"a":1,"a":2}'), "comes twice"),
        (_file({"a": 1}), "other facts"),
        (_file({"__metadata__": {"a": 1}}), "__metadata__"),
        (_file(entry(extra=1), bytes(8)), "other facts"),
        (_file(entry(dtype="F99"), bytes(8)), "F99"),
        (_file(entry(dtype=[]), bytes(8)), "unhashable"),
        (_file(entry(shape=[-2]), bytes(8)), "no numbers"),
        (_file(entry(shape=[True, 2]), bytes(8)), "no numbers"),
        (_file(entry(shape=2), bytes(8)), "that are none"),
        (_file(entry(shape=[1 << 62, 1 << 62]), bytes(8)), "do not fit its shape"),
        (_file(entry(data_offsets=[0, 12]), bytes(12)), "do not fit its shape"),
        (_file(entry(data_offsets=[4, 12]), bytes(12)), "overlap or leave a hole"),
        (_file(entry(data_offsets=[0, 1 << 70]), bytes(8)), "no numbers"),
        (_file(entry(), bytes(9)), "do not fill"),
        (_file(entry(), bytes(7)), "do not fill"),
        (_file({**entry(), "b": entry()["a"]}, bytes(8)), "overlap"),
    ],
)  # fmt: skip
def test_a_header_that_is_none_is_refused(tmp_path, content, why):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(IndexDamagedError, match=why) as caught:
        open_arrays(path)
    assert str(path) in str(caught.value)


def test_an_array_that_the_processor_could_not_read_is_refused(tmp_path):
    text = json.dumps(entry()).encode()
    text += b" " * (-(8 + len(text)) % 4 + 1)  # the data begins one byte beyond a multiple of 4
    (tmp_path / "file").write_bytes(_file({}, bytes(8), text))
    with pytest.raises(IndexDamagedError, match="not aligned"):
        open_arrays(tmp_path / "file")
