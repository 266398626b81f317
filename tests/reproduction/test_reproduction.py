"""The paper's claims on models so small that nothing holds, but everything is computed."""

import itertools
import json
import shutil

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.training.conftest import sentence, write_lines
from xtrkit.cli.app import app
from xtrkit.errors import InputError
from xtrkit.evaluation.measures import evaluate, of_each_query
from xtrkit.reproduction import Laboratory, Setting, claim_named
from xtrkit.reproduction.claims import GROUPS
from xtrkit.reproduction.outcome import Outcome, Table, Verdict
from xtrkit.reproduction.record import read_record
from xtrkit.reproduction.run import setting_of
from xtrkit.reproduction.significance import p_of_no_difference
from xtrkit.reproduction.tokens import TokenView, gold_and_lexical, tokens_per_candidate

SMALL = [
    "seeds=1,2",
    "batch_size=8",
    "k_train=8",
    "top_layers=0",
    "query_length=16",
    "document_length=24",
    "k_prime=20",
]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name, first in (("learn", 0), ("exam", 7)):
        texts = [sentence(i + first, 7) for i in range(40)]
        write_lines(folder / name / "corpus.jsonl", [{"_id": f"d{i}", "text": text} for i, text in enumerate(texts)])
        write_lines(folder / name / "queries.jsonl", [{"_id": f"q{i}", "text": sentence(i, 3)} for i in range(24)])
        judgements = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(24))]
        for split in ("train", "test"):
            write_lines(folder / name / "qrels" / f"{split}.tsv", judgements)
    return folder


@pytest.fixture(scope="module")
def laboratory(sets, checkpoints, tmp_path_factory):
    setting = setting_of([str(sets / "learn")], [str(sets / "exam")], [*SMALL, f"model={checkpoints['native']}"])
    return Laboratory(setting, tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def view(laboratory):
    test = laboratory.tests[0]
    retriever = laboratory.retriever(laboratory.model("xtr"), test)
    return retriever, test, TokenView(retriever, test, laboratory.embeddings(retriever, test))


def slow_similarities(retriever, test):
    """[(query, query token, similarities with all tokens)], the tokens' documents and pieces."""
    index, encoder = retriever.index, retriever.encoder
    vectors = np.concatenate([index.vectors(number) for number in range(len(index))]).astype(np.float32)
    owner = np.repeat(np.arange(len(index)), np.diff(index.document_offsets))
    pieces = [
        token.piece for number in range(len(index)) for token in encoder.document_tokens(index.passage(number)[1])
    ]
    found = []
    for query, text in test.queries.items():
        rows = retriever.encode_queries([text])[0]
        found += [(query, token, vectors @ row) for row, token in zip(rows, encoder.query_tokens(text), strict=True)]
    return found, owner, np.array(pieces)


def test_figure_4_is_that_of_the_slow_twin(view):
    retriever, test, tokens = view
    similarities, owner, pieces = slow_similarities(retriever, test)
    ids, expected, count = list(retriever.index.ids()), np.zeros((2, 10)), 0
    for query, token, values in similarities:
        if token.start == token.end:
            continue
        best = np.argsort(-values, kind="stable")[:10]
        gold = [test.qrels[query].get(ids[document], 0) > 0 for document in owner[best]]
        expected += np.stack([gold, pieces[best] == token.piece])
        count += 1
    np.testing.assert_allclose(gold_and_lexical(tokens, 10), expected / count, atol=0.02)  # near-ties may swap
    assert expected[1].sum() > 0


def test_footnote_2_is_that_of_the_slow_twin(view):
    retriever, test, tokens = view
    similarities, owner, _ = slow_similarities(retriever, test)
    rates = []
    for _, group in itertools.groupby(similarities, key=lambda found: found[0]):
        kept = [owner[np.argsort(-values, kind="stable")[:20]] for _, _, values in group]
        rates.append(sum(map(len, kept)) / len(np.unique(np.concatenate(kept))))
    rate, candidates, length = tokens_per_candidate(tokens, 20)
    assert rate == pytest.approx(np.mean(rates), rel=0.01)
    assert 1 <= candidates <= 40
    assert length == pytest.approx(np.diff(retriever.index.document_offsets).mean(), rel=0.2)


def test_a_token_is_shown_in_its_context(view):
    retriever, _, tokens = view
    for row in (0, int(tokens.offsets[3]) + 1, int(tokens.offsets[-1]) - 1):
        document = int(np.searchsorted(tokens.offsets, row, side="right")) - 1
        token = retriever.encoder.document_tokens(tokens.text(document))[row - int(tokens.offsets[document])]
        assert f"[{tokens.text(document)[token.start : token.end] or token.piece}]" in tokens.in_context(row)


def test_the_paired_test_is_the_whole_enumeration():
    random = np.random.default_rng(1)
    a, b = random.random(10), random.random(10) + 0.15
    every = [abs(np.dot(signs, b - a)) for signs in itertools.product((-1, 1), repeat=10)]
    exact = np.mean(np.array(every) >= abs((b - a).sum()) - 1e-12)
    assert p_of_no_difference(a, b) == pytest.approx(exact, abs=0.02)
    assert p_of_no_difference(a, a) == 1.0
    assert p_of_no_difference(np.zeros(30), np.ones(30)) < 0.001


def test_measures_of_each_query_have_the_mean():
    qrels = {"a": {"x": 1}, "b": {"y": 2, "z": 1}, "c": {"x": 1}}
    run = {"a": [("y", 2.0), ("x", 1.0)], "b": [("y", 1.0)]}
    each = of_each_query(run, qrels)
    assert each["nDCG@10"]["c"] == 0
    assert each["R@100"] == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert evaluate(run, qrels)["R@100"] == pytest.approx(0.5)


@pytest.mark.parametrize("name", GROUPS["all"])
def test_every_claim_gives_tables_verdicts_and_figures(name, laboratory):
    outcome = claim_named(name).run(laboratory)
    assert outcome.tables
    assert outcome.verdicts
    assert all(np.isfinite(value) for value in outcome.figures.values())
    json.loads(outcome.record())
    for table in outcome.tables:
        assert all(len(row) == len(table.head) for row in table.rows)


def test_table_1_is_the_papers():
    from xtrkit.scoring.cost import colbert_flops, xtr_flops

    assert colbert_flops(16, 100, 55, 128) == pytest.approx(361.9e6, rel=1e-3)
    assert xtr_flops(16, 100, 2.5) == pytest.approx(89.6e3, rel=1e-3)


def test_what_cannot_be_said_is_not_shown():
    verdicts = [Verdict("a", True, ""), Verdict("b", False, ""), Verdict("c", None, "")]
    page = Outcome([Table("t", ["", "x"], [["row", 0.5]])], verdicts).markdown(
        "Title", "Table 9", "command", "picture.png"
    )
    assert [line.split("|")[2].strip() for line in page.splitlines()[-3:]] == ["held", "did not hold", "not shown"]
    assert "| row | 0.5000 |" in page
    assert "![Title](picture.png)" in page


def run(*arguments):
    """What the command prints, without the seconds that a new process takes to load torch."""
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_the_command_writes_pages_and_records_that_can_be_run_again(sets, checkpoints, laboratory, tmp_path):
    work = laboratory.model("xtr").parent.parent
    changes = [part for change in [*SMALL, f"model={checkpoints['native']}"] for part in ("--set", change)]
    printed = run(
        "reproduce", "figure-2", "--data", sets / "learn", "--test", sets / "exam", "--work", work, *changes,
        "--out", tmp_path / "pages", "--records", tmp_path / "records",
    )  # fmt: skip
    assert "trained as ColBERT, many more tokens are very similar" in printed
    written = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert written == ["figure-2.json", "figure-2.md", "figure-2.png"]
    record = tmp_path / "records" / "figure-2.yaml"
    assert read_record(record).setting.seeds == (1, 2)
    assert read_record(record).setting.model == "native"  # no path of this machine
    again = ("reproduce", record, "--datasets", sets, "--work", work, "--model", checkpoints["native"])
    run(*again)
    content = yaml.safe_load(record.read_text())
    content["figures"]["xtr mean"] += 0.5
    record.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"1 figures are not those of the record: .*xtr mean is 0\.\d+, not"):
        run(*again)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table-9"], "Unknown claim 'table-9': there are table-1"),
        (["table-5"], r"There are no training data \(--data\)"),
        (["table-5", "--set", "colour=red"], "--set takes FIELD=VALUE with a field of batch_size"),
        (["table-5", "--set", "epochs=many"], "epochs can't be 'many'"),
        (["nowhere.yaml", "--datasets", "."], "nowhere.yaml can't be read"),
    ],
)
def test_mistakes_are_told(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        run("reproduce", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content", ["- a\n", "claim: table-5\nsetting: 7\n", "claim: table-5\nsetting: {colour: 1}\n", "a: ["]
)
def test_records_that_are_none(content, tmp_path):
    (tmp_path / "r.yaml").write_text(content)
    with pytest.raises(InputError):
        read_record(tmp_path / "r.yaml")


def test_models_are_trained_once_for_a_setting(laboratory):
    before = laboratory.model("xtr")
    stamp = (before / "modules.json").stat().st_mtime_ns
    assert laboratory.model("xtr", k_train=8) == before  # what the setting says anyway
    assert laboratory.model("xtr", k_train=9) != before
    assert (before / "modules.json").stat().st_mtime_ns == stamp
    shutil.rmtree(laboratory.model("xtr", k_train=9))
    assert Setting().but(seeds=[4]).seeds == (4,)
