"""Generations: pinned by readers, made by one writer, collected when nobody reads them."""

import os
import shutil

import pytest

from tests.storage import toy
from xtrkit.errors import (
    IndexDamagedError,
    IndexExistsError,
    IndexFormatError,
    IndexLockedError,
    InputError,
    StorageError,
)
from xtrkit.storage.generations import WriterLock, back_up, collect, commit, generations, pin, roll_back
from xtrkit.storage.manifest import manifest_name


@pytest.fixture
def index(tmp_path):
    path = tmp_path / "index"
    for step in toy.STEPS[:3]:
        toy.apply(path, step)
    return path


def names(directory):
    return set(os.listdir(directory))


def content(directory, generation=None):
    opened = toy.Opened(directory, generation)
    try:
        return opened.content()
    finally:
        opened.close()


def test_each_commit_is_a_generation_and_two_are_kept(index):
    assert generations(index) == [2, 3]
    assert content(index) == toy.STATES[3]
    assert content(index, 2) == toy.STATES[2]


def test_a_reader_keeps_its_generation_while_writers_go_on(index):
    reader = toy.Opened(index)
    for step in toy.STEPS[3:]:
        toy.apply(index, step)
    assert reader.content() == toy.STATES[3]
    assert generations(index) == [3, 10, 11]
    reader.close()
    with_reader = names(index)
    lock = WriterLock(index)
    assert set(collect(index)) == with_reader - names(index)
    lock.close()
    assert generations(index) == [10, 11]
    assert content(index) == toy.STATES[11]


def test_collecting_never_touches_what_is_not_ours(index):
    for name in ("notes.txt", "s1.vectors", "manifest.json.bak", "codec.safetensors", "tmp-xyz"):
        (index / name).touch()
    (index / "tmp-0123abcd").touch()
    (index / "s000000000009-0123abcd.docs.sqlite").touch()
    assert sorted(collect(index)) == ["s000000000009-0123abcd.docs.sqlite", "tmp-0123abcd"]


def test_nothing_is_collected_as_long_as_a_manifest_can_not_be_read(index):
    before = names(index)
    (index / manifest_name(2)).write_text("damaged")
    (index / "tmp-0123abcd").touch()
    assert collect(index) == []
    assert names(index) >= before


def test_there_is_one_writer(index):
    lock = WriterLock(index)
    with pytest.raises(IndexLockedError, match="changing the index at"):
        WriterLock(index)
    lock.close()
    WriterLock(index).close()


def test_a_second_writer_is_fenced_even_where_locks_lie(index):
    pinned = pin(index)
    before = names(index)
    with pytest.raises(IndexLockedError, match="Another writer committed generation 3"):
        commit(index, pinned.manifest)
    assert names(index) == before


def test_a_damaged_newest_generation_is_an_error_that_names_the_way_back(index):
    (index / manifest_name(3)).write_bytes(b"")
    with pytest.raises(IndexDamagedError, match=rf"Generation 2 is intact: .*repair {index} --rollback 2"):
        pin(index)
    lock = WriterLock(index)
    assert roll_back(index, 2) == 4
    lock.close()
    assert content(index) == toy.STATES[2]


def test_where_nothing_is_intact_the_message_says_so(index):
    for generation in generations(index):
        (index / manifest_name(generation)).write_bytes(b"")
    with pytest.raises(IndexDamagedError, match="No other generation is intact"):
        pin(index)


def test_a_file_that_is_missing_or_short_is_found_when_opening(index):
    path = index / pin(index).manifest.segments[0].vectors.name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IndexDamagedError, match=f"{path.name} is damaged .it has .* bytes instead of"):
        pin(index)
    path.unlink()
    with pytest.raises(IndexDamagedError, match=f"{path.name} is damaged .it is missing"):
        pin(index)


def test_what_is_no_index_is_told(tmp_path, index):
    with pytest.raises(IndexFormatError, match="There is nothing at"):
        pin(tmp_path / "nowhere")
    with pytest.raises(IndexFormatError, match="There is no index at"):
        pin(tmp_path)
    (tmp_path / "manifest.json").touch()
    with pytest.raises(IndexFormatError, match=r"version 1, which was never released .* build the index anew"):
        pin(tmp_path)
    with pytest.raises(InputError, match=r"no generation 9 \(any more\): there are 2, 3"):
        pin(index, 9)


def test_a_copy_made_while_a_writer_works_is_a_backup(tmp_path, index):
    assert back_up(index, tmp_path / "copy") == 3
    assert content(tmp_path / "copy") == toy.STATES[3]
    toy.apply(tmp_path / "copy", toy.STEPS[3])
    assert content(tmp_path / "copy") == toy.STATES[4]
    assert content(index) == toy.STATES[3]
    with pytest.raises(IndexExistsError, match="exists already: choose another place for the copy"):
        back_up(index, tmp_path / "copy")


def test_an_index_may_be_moved(tmp_path, index):
    shutil.move(index, tmp_path / "elsewhere")
    assert content(tmp_path / "elsewhere") == toy.STATES[3]


def test_a_directory_that_can_not_be_written_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "missing"
    with pytest.raises(StorageError, match=r"writer\.lock: locking it failed"):
        WriterLock(path)
