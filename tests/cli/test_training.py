"""The training commands, as a user types them."""

import json

import pytest
from typer.testing import CliRunner

from tests.training.conftest import beir, write_lines  # noqa: F401 (a fixture)
from tests.training.test_run import plain  # noqa: F401 (a fixture)
from xtrkit.cli.app import app
from xtrkit.errors import InputError
from xtrkit.training.recipes import RECIPES

SMALL = ["--batch-size", "8", "--steps", "2", "--eval-steps", "1", "--dim", "8", "--document-length", "24"]


def run(*arguments):
    ran = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran


def test_mine_score_train(plain, beir, tmp_path):  # noqa: F811
    """The whole way, each command reading what the one before wrote."""
    mined, scored, first, second = (tmp_path / name for name in ("mined.jsonl", "scored.jsonl", "first", "second"))
    assert "32 lines" in run("mine", beir, mined, "--negatives", "3", "--depth", "20").stdout
    ran = run("train", "--model", plain, "--data", f"{mined}@{beir}", "--out", first, "--dev", beir, *SMALL)
    assert "nDCG@10 on the dev set:" in ran.stdout
    assert "step      1/2  loss" in ran.stderr
    assert "dev nDCG@10" in ran.stderr
    found = json.loads(run("score", f"{mined}@{beir}", scored, "--teacher", first, "--json").stdout)
    assert found == {"lines": 32, "left_out": 0}
    ran = run(
        "train", "--recipe", "colbertv2", "--model", first, "--data", f"{scored}@{beir}", "--out", second, "--json",
        "--dev", "none", "--negatives", "2", "--query-length", "16", *SMALL,
    )  # fmt: skip
    facts = json.loads(ran.stdout)
    assert facts["steps"] == 2
    assert facts["recipe"]["negatives"] == 2
    assert "loss" not in ran.stderr


def test_a_file_a_field_and_a_flag(plain, beir, tmp_path):  # noqa: F811
    """Flags win over --set, --set over the file, the file over the recipe."""
    config = write_lines(tmp_path / "r.yaml", ["k_train: 5", "temperature: 1e-1", "seed: 3", "dim: 4"])
    ran = run(
        "train", "--model", plain, "--data", beir, "--out", tmp_path / "out", "--config", config, "--json",
        "--dev", "none", "--set", "seed=4", "--set", "k_train=6", "--set", "learning_rate=1e-5", "--k-train", "7",
        *SMALL,
    )  # fmt: skip
    recipe = json.loads(ran.stdout)["recipe"]
    chosen = {name: recipe[name] for name in ("k_train", "temperature", "seed", "learning_rate", "dim")}
    assert chosen == {"k_train": 7, "temperature": 0.1, "seed": 4, "learning_rate": 1e-5, "dim": 8}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "seed"], "--set takes NAME=VALUE, got 'seed'"),
        (["--set", "speed=3"], "The recipe xtr has no 'speed'"),
        (["--set", "seed=fast"], "seed must be a whole number, got 'fast'"),
        (["--config", "nowhere.yaml"], r"The recipe file nowhere.yaml can't be read"),
    ],
)
def test_wrong_choices_are_told(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run("train", "--data", "x.tsv", "--out", tmp_path / "out", *arguments)


def test_the_recipes_are_said_in_the_help():
    for name in RECIPES:
        assert name in run("train", "--help").stdout
