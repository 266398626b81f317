"""``reproductions/CLAIM.yaml``: a claim, in which setting it was measured, and the figures that came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xtrkit.errors import InputError, missing_extra
from xtrkit.reproduction.claims import Claim, claim_named
from xtrkit.reproduction.laboratory import Setting
from xtrkit.reproduction.outcome import Outcome

FIELDS = {"claim", "source", "command", "setting", "tolerance", "figures"}


@dataclass(frozen=True)
class Record:
    """What is written down of a claim.

    Attributes:
        claim: which.
        setting: the one it was measured in; data, tests and models that are directories are names of folders.
        tolerance: how far a figure may be from what is written here.
        figures: what came out.
    """

    claim: Claim
    setting: Setting
    tolerance: float
    figures: Mapping[str, float]

    def in_folder(self, datasets: Path) -> Setting:
        """The setting with data, tests, and models that are there, below a folder."""
        below: dict[str, Any] = {
            name: tuple(str(datasets / folder) for folder in getattr(self.setting, name)) for name in ("data", "tests")
        }
        for name in self.claim.paper.models:
            if (model := getattr(self.setting, name)) and (datasets / model).is_dir():
                below[name] = str(datasets / model)
        return self.setting.but(**below)

    def differences(self, outcome: Outcome) -> list[str]:
        """A line for each figure that differs from what is written here."""
        found = []
        for name, expected in self.figures.items():
            value = outcome.figures.get(name)
            if value is None or abs(value - expected) > self.tolerance * max(1.0, abs(expected)):
                found.append(f"{name} is {'missing' if value is None else f'{value:.4f}'}, not {expected:.4f}")
        return found


def read_record(path: Path) -> Record:
    """Read a record.

    Raises:
        InputError: it can't be read, or isn't one.
        MissingExtraError: PyYAML isn't installed.
    """
    yaml = _yaml()
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} can't be read as YAML: {error}.") from error
    if not isinstance(content, dict) or set(content) - FIELDS or not {"claim", "setting"} <= set(content):
        raise InputError(f"{path} is no record of a claim: expected the fields {', '.join(sorted(FIELDS))}.")
    if not isinstance(content["setting"], dict):
        raise InputError(f"{path}: setting must be fields and values, got {content['setting']!r}.")
    claim = claim_named(str(content["claim"]))
    setting = claim.paper.setting.but(**content["setting"])
    figures = {str(name): float(value) for name, value in (content.get("figures") or {}).items()}
    return Record(claim, setting, float(content.get("tolerance", claim.paper.tolerance)), figures)


def write_record(path: Path, claim: Claim, setting: Setting, outcome: Outcome) -> None:
    """Write down what came out; data, tests and models that are directories as names of folders."""
    fields: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in vars(setting).items()
    }
    for name in ("data", "tests"):
        fields[name] = [Path(folder).name for folder in fields[name]]
    for name in claim.paper.models:
        if Path(fields[name]).is_dir():
            fields[name] = Path(fields[name]).name
    content = {
        "claim": claim.name,
        "source": f"{claim.paper.name}, {claim.source}",
        "command": f"xtrkit reproduce {path.parent.name}/{path.name} --datasets DATASETS --work WORK",
        "setting": fields,
        "tolerance": claim.paper.tolerance,
        "figures": {name: round(float(value), 4) for name, value in outcome.figures.items()},
    }
    path.write_text(_yaml().safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise missing_extra("Reading records of claims", "train") from error
    return yaml
