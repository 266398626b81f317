"""Running a claim: from its name or its record to a page, a picture, JSON, and a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from xtrkit.errors import InputError, MissingExtraError
from xtrkit.reproduction.claims import XTR_PAPER, Claim, claim_named
from xtrkit.reproduction.laboratory import Compute, Laboratory, Setting
from xtrkit.reproduction.outcome import draw
from xtrkit.reproduction.record import Record, read_record, write_record


@dataclass(frozen=True)
class Asked:
    """What the command line says beside claims.

    Attributes:
        data: training data.
        tests: test collections.
        changes: fields of the setting, as FIELD=VALUE.
        model: what to start from.
        datasets: the folder of what records name.
    """

    data: Sequence[str] = ()
    tests: Sequence[str] = ()
    changes: Sequence[str] = ()
    model: str | None = None
    datasets: Path | None = None

    def with_model(self, setting: Setting) -> Setting:
        """A setting with the model that was named, if one was."""
        return setting if self.model is None else setting.but(model=self.model)


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
    def of(cls, name: str, asked: Asked) -> Run:
        """Of a claim's name, or of the path of its record, which says all but the model where it was told of one.

        Raises:
            InputError: there is no such claim or record, or a record was given without its data sets.
        """
        if not name.endswith((".yaml", ".yml")):
            claim = claim_named(name)
            setting = setting_of(asked.data, asked.tests, asked.changes, claim.paper.setting)
            return cls(name, claim, asked.with_model(setting))
        record = read_record(Path(name))
        if asked.datasets is None:
            raise InputError(f"{name} names its data sets, but not where they are: say it with --datasets.")
        return cls(name, record.claim, asked.with_model(record.in_folder(asked.datasets)), record)

    def laboratory(self, work: Path, tell: Callable[[str], None], compute: Compute) -> Laboratory:
        """What measures it; arguments as of :class:`~xtrkit.reproduction.laboratory.Laboratory`."""
        return self.claim.paper.laboratory(self.setting, work, tell, compute)

    @property
    def command(self) -> str:
        """The command that runs it again."""
        if self.record:
            return f"xtrkit reproduce {self.name} --datasets DATASETS"
        data = " ".join(f"--data {Path(folder).name}" for folder in self.setting.data)
        tests = " ".join(f"--test {Path(folder).name}" for folder in self.setting.tests)
        usual = self.claim.paper.setting
        own = {name: value for name, value in vars(self.setting).items() if value != getattr(usual, name)}
        changes = " ".join(
            f"--set {name}={_as_flag(value)}" for name, value in own.items() if name not in ("data", "tests", "model")
        )
        model = f"--model {_as_flag(own['model'])}" if "model" in own else ""
        parts = ("xtrkit reproduce", self.claim.name, model, data, tests, changes)
        return " ".join(part for part in parts if part)


def _as_flag(value: Any) -> str:
    """A field's value as a flag has it; of a directory its name."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return Path(value).name if isinstance(value, str) and Path(value).is_dir() else str(value)


def setting_of(
    data: Sequence[str], tests: Sequence[str], changes: Sequence[str], usual: Setting = XTR_PAPER.setting
) -> Setting:
    """A setting from flags.

    Args:
        data: training data.
        tests: test collections.
        changes: fields that differ from the usual, as FIELD=VALUE.
        usual: what holds where nothing is said.

    Raises:
        InputError: a change is not FIELD=VALUE, names no field, or has a value of another kind.
    """
    kinds = get_type_hints(type(usual))
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
    return usual.but(**parsed)


def run_claim(
    run: Run, laboratory: Laboratory, pages: Path | None, records: Path | None, tell: Callable[[str], None]
) -> tuple[str, list[str]]:
    """Measure a claim and write what was asked for.

    Args:
        run: which claim, in which setting.
        laboratory: the run's own, or that of another run of the same paper and setting.
        pages: folder for a page, a picture and JSON; None writes none.
        records: folder for its record; None writes none.
        tell: called with a line where a picture can't be drawn.

    Returns:
        the page, and how the figures differ from the record.

    Raises:
        XtrkitError: data or tests can't be read, or a training fails.
    """
    outcome = run.claim.run(laboratory)
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
