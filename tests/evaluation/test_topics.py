"""Queries in the formats in which they come."""

import gzip

import pytest

from xtrkit.errors import CollectionError
from xtrkit.evaluation.topics import read_topics

ADHOC = """<top>
<num> Number: 301
<title> International Organized Crime

<desc> Description:
Identify organizations that participate in
international criminal activity.

<narr> Narrative:
A relevant document must name one &amp; its activity.
</top>

<top>
<num> Number: 302
<title> Poliomyelitis and Post-Polio
</top>
"""
CLOSED = """<top><num> 1</num><title> what similarity laws
must be obeyed </title></top>
<top><num>2</num><title>heat</title></top>"""
XML = """<topics task="COVIDSearch">
 <topic number="1"><query>coronavirus origin</query><question>what is its origin?</question></topic>
 <topic number="2" type="faceted"><query>masks</query></topic>
</topics>"""


def written(tmp_path, text, name="queries"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text", "queries"),
    [
        ("queries.dev.small.tsv", "1048585\twhat's paula?\n2\tant\n", {"1048585": "what's paula?", "2": "ant"}),
        ("questions.search.tsv", "0\tare ants smart?\r\n1\twhy?\r\n", {"0": "are ants smart?", "1": "why?"}),
        ("header.tsv", "qid\tquery\n7\tx\n", {"7": "x"}),
        ("header2.tsv", "query-id\ttext\n7\tx\n", {"7": "x"}),
        ("id.tsv", "id\tis a word in German too\n", None),
        ("queries.jsonl", '{"_id": "a", "text": "A"}\n{"_id": 3, "text": "B", "metadata": {}}\n', {"a": "A", "3": "B"}),
        ("qas.search.jsonl", '{"qid": 0, "query": "q", "answer_pids": [1]}\n', {"0": "q"}),
        ("one.jsonl", '{"_id": "a", "text": "A"}\n', {"a": "A"}),
        ("map.json", '{"a": "A", "b": "B"}', {"a": "A", "b": "B"}),
        ("pretty.json", '{\n "a": "A",\n "b": "B"\n}', {"a": "A", "b": "B"}),
        ("list.json", '[{"query_id": "a", "question": "A"}]', {"a": "A"}),
        ("topics.txt", ADHOC, {"301": "International Organized Crime", "302": "Poliomyelitis and Post-Polio"}),
        ("cran.xml", CLOSED, {"1": "what similarity laws must be obeyed", "2": "heat"}),
        ("covid.xml", '<?xml version="1.0"?>\n' + XML, {"1": "coronavirus origin", "2": "masks"}),
        ("bom.tsv", "\ufeff1\tx\n", {"1": "x"}),
        ("topics.csv", 'qid,query\n1,"Emma, ""the"" novel"\n', {"1": 'Emma, "the" novel'}),
        ("lines.csv", 'qid,query\n1,"two\nlines"\n2,b\n', {"1": "two\nlines", "2": "b"}),
        ("three.tsv", "topic\tquery_id\tquery\nnovels\t7\tEmma\n", {"7": "Emma"}),
        ("trials.xml", '<topics><topic number="1">\nA man, age &lt; 45\n</topic></topics>', {"1": "A man, age < 45"}),
        ("clef.xml", "<topic><identifier>10/401-AH</identifier><title>euro</title></topic>", {"10/401-AH": "euro"}),
        ("by_id.xml", '<topics><topic id="q7" lang="id"><title>euro</title></topic></topics>', {"q7": "euro"}),
        ("nested.xml", '<topic number="9"><query>of <i>Emma</i> the novel</query></topic>', {"9": "of Emma the novel"}),
        ("cdata.xml", '<topic number="9"><query><![CDATA[a & <b>c</b>]]></query></topic>', {"9": "a & <b>c</b>"}),
        ("comment.xml", '<topic number="9"><!-- <query>old</query> --><query>new</query></topic>', {"9": "new"}),
        ("less.txt", "<top>\n<num> 1\n<title> a < b and c<d \n<desc> x\n</top>", {"1": "a < b and c<d"}),
        ("again.xml", '<topic number="1"><query>a</query><part><query>b</query></part></topic>', {"1": "a"}),
    ],
)  # fmt: skip
def test_formats(tmp_path, name, text, queries):
    path = written(tmp_path, text, name)
    if queries is None:  # a header alone
        with pytest.raises(CollectionError, match="no query with a text"):
            read_topics(path)
        return
    assert read_topics(path).queries == queries
    with gzip.open(tmp_path / f"{name}.gz", "wt", encoding="utf-8") as packed:
        packed.write(text)
    assert read_topics(tmp_path / f"{name}.gz").queries == queries


def test_other_fields_of_topics(tmp_path):
    path = written(tmp_path, ADHOC)
    with pytest.raises(CollectionError, match=r"topic 302: no <desc>; it has 'num', 'title'"):
        read_topics(path, "desc")
    first = written(tmp_path, ADHOC.split("</top>")[0] + "</top>", "first")
    assert (
        read_topics(first, "DESC").queries["301"].startswith("Identify organizations that participate in international")
    )
    assert read_topics(first, "narr").queries["301"] == "A relevant document must name one & its activity."
    assert read_topics(first, "narrative").queries == read_topics(first, "narr").queries
    assert read_topics(first, "query").queries == read_topics(first).queries
    described = written(tmp_path, '<topic number="1"><query>a</query><description>what a is</description></topic>')
    assert read_topics(described, "desc").queries == {"1": "what a is"}
    assert read_topics(written(tmp_path, XML), "query").queries["1"] == "coronavirus origin"
    with pytest.raises(CollectionError, match="no <question>"):
        read_topics(written(tmp_path, XML), "question")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no queries: expected lines of id and text"),
        ("1\ta\tb\n", "line 1: 3 columns"),
        ("1 what\n", "line 1: no tab"),
        ("1\tq\n2 Q0 d 1 0.5 tag\n", "line 2: no tab .* looks like a run, or judgements"),
        ('{"_id": "1", "text": "a"}\nnot json\n', "line 2: not JSON"),
        ('{"_id": "1"}\n', "line 1: no text in an object with '_id'"),
        ('{"text": "a", "more": 1}\n{"text": "b"}\n', "line 1: no id"),
        ('{"a": 1}', 'expected {"id": "text"'),
        ("[1, 2]", "entry 1: expected a JSON object"),
        ("<top><title>no number</title></top>", "topic 1: no number"),
        ("<top>\n<num> Number: \n<title> x\n</top>", "topic 1: no number"),
        ("<top><num>1</num></top>", "topic 1: no <title>; it has 'num'"),
        ('<topic number="1"></topic>', "topic 1: no <title>; it has nothing"),
        (".I 001\n.W\nwhat laws\n", "line 1: no tab .* SMART's layout"),
        ("qid,query\n1,a,b\n", "line 2: 3 columns"),
        ('qid,query\n1,"a\n', "line 2: no CSV"),
        ('{"id": 1.5, "text": "a"}\n{"id": 2, "text": "a"}\n', "line 1: no id that is a text or a whole number"),
        ("<html><body>no topics</body></html>", "no query with a text"),
        ("\tno id\n2\tx\n", "line 1: the query's id is empty"),
    ],
)
def test_what_is_no_queries_is_told_with_its_line(tmp_path, text, sentence):
    with pytest.raises(CollectionError, match=sentence):
        read_topics(written(tmp_path, text))


def test_what_came_twice_or_had_no_text_is_noted(tmp_path):
    topics = read_topics(written(tmp_path, "1\ta\n1\tb\n 2\tc\n3\t \n4\td\n4\td\n"))
    assert topics.queries == {"1": "a", "2": "c", "4": "d"}
    notes = {note.kind: note for note in topics.notes}
    assert notes["queries_twice"].facts == {"queries": 2, "disagreeing": 1, "taken": "first", "examples": ["1"]}
    assert notes["queries_without_text"].facts == {"queries": 1, "examples": ["3"]}
    assert notes["trimmed_ids_of_topics"].facts["ids"] == 1
