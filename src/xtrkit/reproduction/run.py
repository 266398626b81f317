"""Running a claim: from its name or its record to a page, a picture, JSON, and a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from xtrkit.errors import InputError, MissingExtraError
from xtrkit.reproduction.claims import Claim, claim_named
from xtrkit.reproduction.laboratory import Laboratory, Setting
from xtrkit.reproduction.outcome import draw
from xtrkit.reproduction.record import Record, read_record, write_record


@dataclass(frozen=True)
class Run:
    """A claim that shall be measured.

    Attributes:
        name: as it was asked for.
        claim: which.
        setting: in which setting.
        record: what it is compared with, if it was written down before.
    """

    name: str
    claim: Claim
    setting: Setting
    record: Record | None = None

    @classmethod
    def of(cls, name: str, setting: Setting, datasets: Path | None) -> Run:
        """Of a claim's name, or of the path of its record.

        Raises:
            InputError: there is no such claim or record, or a record was given without its data sets.
        """
        if not name.endswith((".yaml", ".yml")):
            return cls(name, claim_named(name), setting)
        record = read_record(Path(name))
        if datasets is None:
            raise InputError(f"{name} names its data sets, but not where they are: say it with --datasets.")
        return cls(name, record.claim, record.in_folder(datasets), record)

    @property
    def command(self) -> str:
        """The command that runs it again."""
        if self.record:
            return f"xtrkit reproduce {self.name} --datasets DATASETS"
        data = " ".join(f"--data {Path(folder).name}" for folder in self.setting.data)
        tests = " ".join(f"--test {Path(folder).name}" for folder in self.setting.tests)
        own = {name: value for name, value in vars(self.setting).items() if value != getattr(Setting, name)}
        changes = " ".join(
            f"--set {name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
            for name, value in own.items() if name not in ("data", "tests")
        )  # fmt: skip
        return " ".join(part for part in ("xtrkit reproduce", self.claim.name, data, tests, changes) if part)


def setting_of(data: Sequence[str], tests: Sequence[str], changes: Sequence[str]) -> Setting:
    """A setting from flags.

    Raises:
        InputError: a change is not FIELD=VALUE, names no field, or has a value of another kind.
    """
    kinds = get_type_hints(Setting)
    parsed: dict[str, Any] = {"data": tuple(data), "tests": tuple(tests)}
    for entry in changes:
        name, equals, value = entry.partition("=")
        if not equals or name not in kinds or name in ("data", "tests"):
            there = ", ".join(sorted(set(kinds) - {"data", "tests"}))
            raise InputError(f"--set takes FIELD=VALUE with a field of {there}; got {entry!r}.")
        try:
            parsed[name] = tuple(map(int, value.split(","))) if name == "seeds" else kinds[name](value)
        except ValueError as error:
            raise InputError(f"{name} can't be {value!r}: {error}.") from error
    return Setting().but(**parsed)


def run_claim(
    run: Run, work: Path, pages: Path | None, records: Path | None, tell: Callable[[str], None]
) -> tuple[str, list[str]]:
    """Measure a claim and write what was asked for.

    Args:
        run: which claim, in which setting.
        work: where models and indexes are kept.
        pages: folder for a page, a picture and JSON; None writes none.
        records: folder for its record; None writes none.
        tell: called with a line before each long piece of work.

    Returns:
        the page, and how the figures differ from the record.

    Raises:
        XtrkitError: data or tests can't be read, or a training fails.
    """
    outcome = run.claim.run(Laboratory(run.setting, work, tell))
    picture = None
    if pages:
        pages.mkdir(parents=True, exist_ok=True)
        if outcome.plots:
            try:
                draw(outcome.plots, pages / f"{run.claim.name}.png")
                picture = f"{run.claim.name}.png"
            except MissingExtraError as error:
                tell(f"no picture: {error}")
    page = outcome.markdown(run.claim.title, run.claim.source, run.command, picture)
    if pages:
        (pages / f"{run.claim.name}.md").write_text(page, encoding="utf-8")
        record = outcome.record(claim=run.claim.name, command=run.command)
        (pages / f"{run.claim.name}.json").write_text(record, encoding="utf-8")
    if records:
        records.mkdir(parents=True, exist_ok=True)
        write_record(records / f"{run.claim.name}.yaml", run.claim, run.setting, outcome)
    return page, run.record.differences(outcome) if run.record else []
