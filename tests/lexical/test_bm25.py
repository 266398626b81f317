"""Words on disk and their scores, against slow counting; blocks, segments and the dead change no bit."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.errors import IndexDamagedError, IndexFormatError, InputError, StorageError
from xtrkit.kernels import lexical, reference
from xtrkit.lexical import postings
from xtrkit.lexical.bm25 import K1, B, SegmentWords, WordIndex
from xtrkit.lexical.postings import WordsWriter, open_words
from xtrkit.lexical.terms import ANALYSER, terms
from xtrkit.storage.arrays import open_arrays, write_arrays
from xtrkit.values import EVERYONE

WORD = st.sampled_from(["red", "green", "blue", "東京都", "Reds", "x1"])
TEXTS = st.lists(st.lists(WORD, max_size=6).map(" ".join), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("words")


def written(folder, texts, block_words=1000):
    """A file of words, whatever its name."""
    with WordsWriter(folder, f"words{len(list(folder.iterdir()))}", block_words) as writer:
        for text in texts:
            writer.add(text)
        facts = writer.finish()
    return open_words(folder / facts.name, len(texts))


def segment(words, live=EVERYONE):
    return SegmentWords(words, ANALYSER, live, len(words.lengths))


def slowly(texts, living, query):
    counts = [Counter(terms(text)) for text in texts]
    lengths = [count.total() for count in counts]
    of_terms = [reference.bm25([count[term] for count in counts], lengths, living, K1, B) for term in terms(query)]
    return np.sum([np.zeros(len(texts)), *of_terms], axis=0)


@given(texts=TEXTS, query=st.lists(WORD, max_size=4).map(" ".join), data=st.data())
def test_scores_are_those_of_slow_counting(folder, texts, query, data):
    living = data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    words = written(folder, texts, data.draw(st.sampled_from([1, 3, 1000])))
    assert words.problem() is None
    scores = WordIndex([segment(words, np.array(living))]).scores(query)
    np.testing.assert_allclose(scores, slowly(texts, living, query), rtol=1e-5)
    assert not scores[~np.array(living)].any()


@given(texts=TEXTS, dead=TEXTS, query=st.lists(WORD, max_size=4).map(" ".join), data=st.data())
def test_many_segments_with_dead_documents_score_as_one_of_the_living_to_the_last_bit(folder, texts, dead, query, data):
    one = WordIndex([segment(written(folder, texts))]).scores(query)
    cut = data.draw(st.integers(0, len(texts)))
    first, second = [*dead, *texts[:cut]], texts[cut:]
    live = np.arange(len(first)) >= len(dead)
    segments = [segment(written(folder, first, 2), live)]
    if second:
        segments.append(segment(written(folder, second)))
    many = WordIndex(segments).scores(query)
    assert many[len(dead) :].tobytes() == one.tobytes()
    assert not many[: len(dead)].any()


def test_blocks_that_do_not_fit_into_memory_wait_on_disk(folder, monkeypatch):
    texts = [f"word{number % 50} common n{number}" for number in range(400)]
    whole = written(folder, texts, 10_000)
    monkeypatch.setattr(postings, "IN_MEMORY", 256)
    cut = written(folder, texts, 30)
    assert len(cut.block_terms) > 30
    assert [len(list(cut.postings("common"))), len(list(whole.postings("common")))] == [len(cut.block_terms) - 1, 1]
    for query in ("common", "word7 n399", "n0 n1", "nowhere"):
        one, other = WordIndex([segment(whole)]).scores(query), WordIndex([segment(cut)]).scores(query)
        assert one.tobytes() == other.tobytes()
    assert not [path for path in folder.iterdir() if path.name.startswith("tmp")]


def test_a_frequency_that_does_not_fit_is_the_largest_that_does(folder):
    words = written(folder, ["spam " * 70_000, "spam"], 1 << 20)
    assert words.frequencies.tolist() == [65_535, 1]
    assert words.lengths.tolist() == [70_000, 1]
    assert words.problem() is None


def test_documents_without_text_count_nowhere(folder):
    with_none = written(folder, ["red green", None, "red", None, ""])
    alone = written(folder, ["red green", "red"])
    scores = WordIndex([segment(with_none)]).scores("red green")
    assert scores[[0, 2]].tobytes() == WordIndex([segment(alone)]).scores("red green").tobytes()
    assert not scores[[1, 3, 4]].any()


def test_where_no_document_has_a_text_there_is_no_file(folder):
    with WordsWriter(folder, "none") as writer:
        writer.add(None)
        assert writer.finish() is None
    assert not (folder / "none").exists()
    with pytest.raises(InputError, match="no texts, so there are no words to look for: build it with texts"):
        WordIndex([SegmentWords(None, None, EVERYONE, 1)]).scores("red")
    assert len(WordIndex([SegmentWords(None, None, EVERYONE, 0)]).scores("red")) == 0


def test_words_of_another_analyser_are_not_searched(folder):
    words = written(folder, ["red"])
    index = WordIndex([SegmentWords(words, "xtrkit-0", EVERYONE, 1)])
    with pytest.raises(
        IndexFormatError, match=r"found by 'xtrkit-0', this xtrkit has 'xtrkit-1': `xtrkit repair .*--words"
    ):
        index.scores("red")


def test_postings_that_lead_nowhere_are_an_error_and_write_nothing():
    scores = np.zeros(2, dtype=np.float32)
    documents, frequencies = np.array([1, 2, 2**32 - 1], dtype=np.uint32), np.ones(3, dtype=np.uint16)
    assert not lexical.add_term(documents, frequencies, np.ones(2, dtype=np.float32), np.float32(3), scores)
    assert scores.tolist() == [0, 1.5]
    assert lexical.count_living(documents, np.array([True, True])) == 1


CHANGES = {
    "lengths": lambda values: values[:-1],
    "block_terms": lambda values: values[::-1],
    "term_ends": lambda values: np.append(values[:-1], values[-1] + 1),
    "posting_ends": lambda values: np.concatenate([values[:1], values[1:][::-1]]),
    "terms": lambda values: values[:-1],
    "documents": lambda values: values.astype("<i8"),
    "frequencies": lambda values: values[:-1],
}


@pytest.mark.parametrize("name", CHANGES)
def test_arrays_that_do_not_fit_are_refused(folder, name):
    words = written(folder, ["red green", "green blue blue"])
    arrays = {**open_arrays(words.path)}
    arrays[name] = CHANGES[name](arrays[name])
    target = f"changed-{name}"
    write_arrays(folder, target, arrays)
    with pytest.raises(IndexDamagedError, match=target):
        open_words(folder / target, 2)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("terms", lambda values: values * 0 + ord("z"), "terms are not in order"),
        ("documents", lambda values: values + 2, "lead nowhere"),
        ("documents", lambda values: values[::-1], "documents are not in order"),
        ("frequencies", lambda values: values * 0, "lead nowhere"),
        ("frequencies", lambda values: values + 1, "lengths are not"),
        ("lengths", lambda values: values + 1, "lengths are not"),
    ],
)
def test_what_contradicts_itself_is_found_when_all_is_read(folder, name, change, why):
    words = written(folder, ["red green", "green blue blue"])
    arrays = {**open_arrays(words.path)}
    arrays[name] = change(arrays[name])
    target = f"contradicts-{name}-{len(list(folder.iterdir()))}"
    write_arrays(folder, target, arrays)
    opened = open_words(folder / target, 2)
    assert why in opened.problem()


def test_a_disk_that_is_full_is_a_storage_error(folder, monkeypatch):
    with WordsWriter(folder, "full") as writer:
        writer.add("red")

        def refuse(data):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(writer._spilled["terms"], "write", refuse, raising=False)
        with pytest.raises(StorageError, match="writing words in it failed"):
            writer.finish()
