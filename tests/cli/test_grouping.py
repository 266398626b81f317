"""Options that belong together are one parameter of the command, and ordinary options to its users."""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from xtrkit.cli.grouping import grouped


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(help="How wide.", min=1)]
    height: Annotated[int, typer.Option("--tall", help="How tall.")] = 3


def answer(*arguments):
    app = typer.Typer()

    @app.command()
    @grouped
    def draw(name: Annotated[str, typer.Argument()], size: Size, loud: bool = False) -> None:
        """Draw it."""
        typer.echo(f"{name} {size} {loud}")

    return CliRunner().invoke(app, arguments)


def test_fields_are_options():
    assert answer("a", "--width", "2").stdout == "a Size(width=2, height=3) False\n"
    assert answer("a", "--width", "2", "--tall", "9", "--loud").stdout == "a Size(width=2, height=9) True\n"


def test_they_are_checked_and_explained():
    assert answer("a").exit_code == 2  # a field without a default is required
    assert answer("a", "--width", "0").exit_code == 2
    shown = answer("--help").stdout
    assert "Draw it." in shown
    assert "How tall." in shown
