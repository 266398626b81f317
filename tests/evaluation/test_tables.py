"""The commands of docs/evaluation.md: what needs checkpoints that are not here can at least be understood."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from xtrkit.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for line in re.split(r"\n| && ", block)
    if line.startswith("xtrkit ")
]


def parsed(line):
    """The command's options, as it would take them; nothing is run."""
    _, name, *words = shlex.split(line, comments=True)
    command = typer.main.get_command(app).commands[name]
    return command.make_context(name, words).params


def test_the_page_has_a_command_for_each_table():
    text = PAGE.read_text(encoding="utf-8")
    assert len(LINES) >= 20
    for table in ("tables 2 and D.1", "LoTTE", "table 3", "table 4", "table 5", "ColBERTv2", "ColXTR, table 1", "UR²N"):
        assert f"**XTR, {table}" in text or f"**{table}" in text or f"**XTR, table 2, {table}" in text, table


@pytest.mark.parametrize("line", LINES)
def test_commands_are_understood(line):
    assert parsed(line.replace("…", ""))


def test_the_test_above_can_fail():
    with pytest.raises(Exception, match="No such option"):
        parsed("xtrkit evaluate idx beir --kprime 40000")
