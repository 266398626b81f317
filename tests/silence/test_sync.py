"""An index follows its folder: what is new, changed or gone there is so here, in one commit; the rest stays."""

import json
import os

import pytest

from xtrkit import Index, Retriever
from xtrkit.encoding import load_encoder
from xtrkit.errors import CollectionError
from xtrkit.indexing.repairing import drop_segment
from xtrkit.texts.changes import folder_source
from xtrkit.texts.document import Fields
from xtrkit.texts.syncing import sync_folder

FILES = {
    "boats.md": "# Boats\n\nThe ferry runs daily.\n\n# Fares\n\nIt costs a florin.",
    "bread.txt": "Bread rises because yeast makes gas.",
    "sub/whales.txt": "Whales sing in the deep sea.",
    "birds.jsonl": '{"_id": "owl", "text": "Owls hunt at night."}\n{"_id": "wren", "text": "Wrens are small."}\n',
}


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        write(tmp_path / "notes" / name, text)
    return tmp_path / "notes"


@pytest.fixture
def retriever(tmp_path, folder, encoder):
    return Retriever.create(tmp_path / "idx", folder, model=encoder)


def write(path, text, age=3600):
    """A file as if it had been written some time ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))


def documents(retriever):
    return sorted({passage.document for passage in retriever.index.passages()})


def counts(summary):
    return summary.new, summary.changed, summary.gone, summary.unchanged


def test_where_nothing_changed_nothing_is_done(retriever, folder, encoder):
    def refuse():
        raise AssertionError("the encoder was loaded")

    for path in (folder, str(folder), folder / "." / "sub" / ".."):
        summary = sync_folder(folder_source(path, Fields()), retriever.index, refuse)
        assert (counts(summary), summary.generation, summary.commit) == ((0, 0, 0, 4), 1, None)
    os.utime(folder / "bread.txt")  # another time, the same content
    assert counts(retriever.sync(folder)) == (0, 0, 0, 4)


def test_new_changed_and_gone_in_one_generation(retriever, folder):
    write(folder / "new" / "moon.txt", "The moon makes the tides.")
    write(folder / "bread.txt", "Bread is baked at dawn.")
    write(
        folder / "birds.jsonl",
        '{"_id": "wren", "text": "Wrens sing loudly."}\n{"_id": "kite", "text": "Kites soar."}\n',
    )
    (folder / "boats.md").unlink()
    summary = retriever.sync(folder)
    assert (counts(summary), summary.generation) == ((1, 2, 1, 1), 2)
    assert documents(retriever) == ["bread.txt", "kite", "new/moon.txt", "sub/whales.txt", "wren"]
    assert retriever.search("when is it baked?", k=1)[0].text == "Bread is baked at dawn."
    assert [passage.text for passage in retriever.get(["wren"])] == ["Wrens sing loudly."]
    assert counts(retriever.sync(folder)) == (0, 0, 0, 4)
    (folder / "new" / "moon.txt").unlink()
    summary = retriever.sync(folder)  # nothing to encode
    assert (counts(summary), summary.generation, summary.commit.deleted) == ((0, 0, 1, 3), 3, 1)
    assert retriever.verify(full=True).ok


def test_a_change_within_the_same_instant_is_seen(retriever, folder):
    write(folder / "bread.txt", "Bread rises because yeast makes gas.", age=0)
    retriever.sync(folder)
    facts = (folder / "bread.txt").stat()
    (folder / "bread.txt").write_text("Bread rises because yeast makes fog.")
    os.utime(folder / "bread.txt", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert counts(retriever.sync(folder)) == (0, 1, 0, 3)
    assert retriever.get(["bread.txt"])[0].text.endswith("fog.")


def test_what_was_changed_by_other_means_is_brought_back(retriever, folder):
    retriever.add([("mine", "A text of my own."), ("sub/whales.txt", "Not what the file says.")])
    retriever.delete(["owl"])
    retriever.compact()
    summary = retriever.sync(folder)
    assert counts(summary) == (0, 2, 0, 2)
    assert [passage.text for passage in retriever.get(["sub/whales.txt", "owl"])] == [
        "Whales sing in the deep sea.",
        "Owls hunt at night.",
    ]
    assert "mine" in documents(retriever)  # it came from elsewhere


def test_other_folders_are_left_alone(retriever, folder, tmp_path):
    write(tmp_path / "other" / "stars.txt", "Stars are far away.")
    assert counts(retriever.sync(tmp_path / "other")) == (1, 0, 0, 0)
    assert len(documents(retriever)) == len(FILES) + 2
    assert counts(retriever.sync(folder)) == (0, 0, 0, 4)
    with pytest.raises(CollectionError, match=r"comes twice, first in .*notes/bread\.txt"):  # another way of naming
        retriever.sync(folder / "*.txt")
    assert len(documents(retriever)) == len(FILES) + 2


def test_what_can_not_be_read_changes_nothing_or_is_left_as_it_was(retriever, folder):
    write(folder / "sub" / "whales.txt", "x")
    (folder / "sub" / "whales.txt").write_bytes(b"Whales \xff\xfe sing.")
    write(folder / "new.txt", "A new text.")
    with pytest.raises(CollectionError, match=r"sub/whales\.txt: byte 8 is not UTF-8"):
        retriever.sync(folder)
    assert (retriever.index.generation, len(documents(retriever))) == (1, 5)
    summary = retriever.sync(folder, skip_bad=True)
    assert [problem.where for problem in summary.report.bad] == ["sub/whales.txt"]
    assert retriever.get(["sub/whales.txt"])[0].text == "Whales sing in the deep sea."
    write(folder / "sub" / "whales.txt", "Whales sing no more.")
    assert counts(retriever.sync(folder)) == (0, 1, 0, 4)
    assert retriever.get(["sub/whales.txt"])[0].text == "Whales sing no more."


def test_an_id_that_another_file_has_is_refused(retriever, folder):
    write(folder / "more.jsonl", '{"_id": "owl", "text": "Another owl."}')
    with pytest.raises(CollectionError, match=r"more\.jsonl, line 1: The id 'owl' comes twice, first in birds\.jsonl"):
        retriever.sync(folder)
    assert retriever.get(["owl"])[0].text == "Owls hunt at night."


def test_records_that_are_read_otherwise_are_read_again(retriever, folder):
    write(folder / "birds.jsonl", '{"_id": "owl", "text": "Owls hunt.", "latin": "Strix"}')
    retriever.sync(folder)
    assert counts(retriever.sync(folder, fields=Fields(metadata=()))) == (0, 4, 0, 0)
    assert retriever.get(["owl"])[0].metadata is None


def test_after_a_lost_segment_all_is_read_again(retriever, folder):
    write(folder / "new.txt", "A new text.")
    retriever.sync(folder)
    segments = retriever.index._store.pin.manifest.segments
    if len(segments) > 1:
        drop_segment(retriever.index.path, segments[-1].name)
        retriever.refresh()
        assert counts(retriever.sync(folder)) == (0, 5, 0, 0)
    assert "new.txt" in documents(retriever)


def test_from_the_command_line(here, tmp_path, folder, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def told(*arguments):
        ran = here("sync", "notes", "made", *arguments)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    made = json.loads(told("--json"))
    assert (made["documents"], made["report"]["files"]) == (5, {"Markdown": 1, "text": 2, "JSON lines": 1})
    monkeypatch.chdir(folder)
    ran = here("sync", ".", "../made")
    assert "Nothing has changed: 4 files are as they were indexed" in ran.stdout
    monkeypatch.chdir(tmp_path)
    write(folder / "bread.txt", "Bread is baked at dawn.")
    shown = told()
    assert "Files: 0 new, 1 changed, 0 gone, 3 as they were." in shown
    assert "generation 2" in shown
    summary = json.loads(told("--json"))
    assert (summary["unchanged"], summary["commit"], summary["generation"]) == (4, None, 2)
    ran = here("sync", "irds:nothing", "made", "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["error"]


def test_a_backup_and_an_older_generation_remember_too(retriever, folder, tmp_path, encoder):
    retriever.backup(tmp_path / "copy")
    assert Index.open(tmp_path / "copy").sources() == retriever.index.sources()
    assert counts(Retriever(Index.open(tmp_path / "copy"), encoder).sync(folder)) == (0, 0, 0, 4)


def test_two_folders_with_files_of_one_name_do_not_take_each_others_place(retriever, folder, tmp_path):
    write(tmp_path / "other" / "bread.txt", "Another bread.")
    with pytest.raises(
        CollectionError, match=r"bread\.txt: The id 'bread\.txt' comes twice, first in .*notes/bread\.txt"
    ):
        retriever.sync(tmp_path / "other")
    assert retriever.get(["bread.txt"])[0].text == FILES["bread.txt"]
    (tmp_path / "other" / "bread.txt").rename(tmp_path / "other" / "cake.txt")
    assert counts(retriever.sync(tmp_path / "other")) == (1, 0, 0, 0)
    assert counts(retriever.sync(folder)) == (0, 0, 0, 4)


def test_what_came_otherwise_and_is_replaced_is_told(tmp_path, folder, encoder):
    made = Retriever.create(tmp_path / "own", [("mine", "My own."), ("bread.txt", "My note on bread.")], model=encoder)
    summary = made.sync(folder)
    assert (
        "1 that had come into the index otherwise was replaced by what the folder has under the same id ('bread.txt')"
        in (" ".join(summary.report.notes))
    )
    assert "mine" in documents(made)


def test_a_damaged_memory_of_files_is_found_and_forgotten(retriever, folder, here):
    (file,) = retriever.index.path.glob("sources-*.json")
    file.write_bytes(file.read_bytes().replace(b"bread", b"braed"))
    report = retriever.verify()
    assert not report.ok
    assert [command.rpartition(" ")[2] for command in report.repair] == ["--forget-sources"]
    ran = here(*report.repair[0].split()[1:])
    assert ran.returncode == 0, ran.stderr
    retriever.refresh()
    assert retriever.verify(full=True).ok
    assert counts(retriever.sync(folder)) == (4, 0, 0, 0)
    assert len(documents(retriever)) == 5


def test_what_can_not_be_read_is_no_change(retriever, folder):
    (folder / "torn.txt").write_bytes(b"\xff\xfe\xff")
    summary = retriever.sync(folder, skip_bad=True)
    assert (summary.commit, summary.generation) == (None, 1)


def test_an_id_that_came_twice_stays_with_the_file_that_had_it_first(tmp_path, folder, encoder):
    write(folder / "more.jsonl", '{"_id": "owl", "text": "Another owl."}\n{"_id": "kite", "text": "Kites soar."}')
    made = Retriever.create(tmp_path / "skipped", folder, model=encoder, skip_bad=True)
    assert [problem.where for problem in made.indexed.report.bad] == ["more.jsonl, line 1"]
    summary = made.sync(folder, skip_bad=True)  # what was left out is told again
    assert (counts(summary), len(summary.report.notes)) == ((0, 1, 0, 4), 0)
    (folder / "more.jsonl").unlink()
    made.sync(folder)
    assert made.get(["owl"])[0].text == "Owls hunt at night."
    assert "kite" not in documents(made)


def test_records_that_became_unreadable_stay_and_go_with_their_file(retriever, folder):
    write(folder / "birds.jsonl", '{"_id": "owl", "text": "Owls sleep by day."}\n{"_id": "wren", "text": \n')
    retriever.sync(folder, skip_bad=True)
    assert [passage.text for passage in retriever.get(["owl", "wren"])] == ["Owls sleep by day.", "Wrens are small."]
    (folder / "birds.jsonl").unlink()
    retriever.sync(folder)
    assert documents(retriever) == ["boats.md", "bread.txt", "sub/whales.txt"]
