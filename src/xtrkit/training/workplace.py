"""The output directory of a training: who may write there, what is there already, and how it becomes a model.

While it trains, ``OUT/training/`` holds checkpoints and the choices of the run; when it is complete, the model's files
move up and that folder goes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from xtrkit.errors import TrainingError

_FOLDER = "training"
_MARKS = ("config.json", "modules.json", "ur2n.json")
"""What makes a directory a model; moved into place last, in this order."""


@dataclass(frozen=True)
class Workplace:
    """A directory that is this run's alone.

    Attributes:
        out: the directory.
    """

    out: Path

    @property
    def folder(self) -> Path:
        """Where checkpoints are."""
        return self.out / _FOLDER

    @property
    def cache(self) -> Path:
        """Where activations are kept unless the caller says otherwise."""
        return self.folder / "activations"

    @classmethod
    @contextmanager
    def at(cls, out: Path, settings: Mapping[str, Any], *, resume: bool, overwrite: bool) -> Iterator[Workplace]:
        """Take a directory for the time of the block.

        Args:
            out: the directory.
            settings: everything that decides the result; a run that goes on must have the same.
            resume: go on with what is there.
            overwrite: delete what is there.

        Raises:
            TrainingError: something else is there, another training works there, or it was made with other settings.
        """
        out = out.resolve()
        check_out(out, resume=resume, overwrite=overwrite)
        (out / _FOLDER).mkdir(parents=True, exist_ok=True)
        with (out / _FOLDER / "lock").open("a+") as lock:
            _lock(lock, out)
            place = cls(out)
            if overwrite:
                place._clear()
            place._agree(json.loads(json.dumps(settings)), resume)
            yield place

    def last_checkpoint(self) -> str | None:
        """The last checkpoint that was written to its end; what a kill left half written is deleted."""
        found = sorted(self.folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
        while found:
            try:
                json.loads((found[-1] / "trainer_state.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                shutil.rmtree(found.pop())
            else:
                return str(found[-1])
        return None

    def finish(self, final: Path) -> None:
        """Move a complete model from ``final`` up into the directory, and delete the checkpoints."""
        parts = sorted(final.iterdir(), key=lambda path: _MARKS.index(path.name) if path.name in _MARKS else -1)
        for part in parts:
            os.replace(part, self.out / part.name)
        shutil.rmtree(self.folder)

    def _clear(self) -> None:
        for part in self.out.iterdir():
            if part != self.folder:
                shutil.rmtree(part) if part.is_dir() else part.unlink()
        for part in self.folder.iterdir():
            if part.name != "lock":
                shutil.rmtree(part) if part.is_dir() else part.unlink()

    def _agree(self, settings: Mapping[str, Any], resume: bool) -> None:
        path = self.folder / "settings.json"
        if resume and path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            if different := _difference(before, settings):
                raise TrainingError(f"The training in {self.out} can't go on with other choices: {different}.")
            return
        path.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def check_out(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a directory that a training may not write to; arguments and errors as in :meth:`Workplace.at`."""
    _check_no_file(out)
    if not overwrite:
        _check_place(out, resume)


def _check_no_file(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise TrainingError(f"{out} is a file: choose a directory for the model.")
    if out.is_dir() and any(out.iterdir()) and not _holds_model(out) and not (out / _FOLDER).is_dir():
        raise TrainingError(f"{out} holds something else than a model or a training: choose another directory.")


def _check_place(out: Path, resume: bool) -> None:
    unfinished = (out / _FOLDER / "settings.json").is_file()
    if resume and not unfinished:
        raise TrainingError(f"There is no unfinished training in {out}: leave out --resume.")
    if resume:
        return
    if unfinished:
        raise TrainingError(f"{out} holds an unfinished training: go on with --resume, or start over with --overwrite.")
    if _holds_model(out):
        raise TrainingError(f"{out} holds a model already: choose another directory, or replace it with --overwrite.")


def _holds_model(out: Path) -> bool:
    return any((out / mark).is_file() for mark in _MARKS)


def _lock(lock: IO[str], out: Path) -> None:
    """Refuse a directory that another process works in; the system frees the lock however that process ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise TrainingError(
            f"Another training is at work in {out}: wait for it, or choose another directory."
        ) from error


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for key in now:
        if before.get(key) != now[key]:
            if isinstance(now[key], Mapping):
                return _difference(before.get(key) or {}, now[key])
            return f"{key} was {before.get(key)!r}, now it is {now[key]!r}"
    return ""
