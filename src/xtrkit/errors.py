"""Every error that xtrkit raises on purpose.

::

    XtrkitError
    ├── InputError          a value that the caller gave can't be used (also a ValueError)
    │   └── CollectionError a file of passages, queries or judgements can't be read
    ├── ModelError          a model can't be loaded, or isn't the one that an index was made with
    │   └── ExportError     an exported model doesn't give the vectors of its original
    ├── IndexFormatError    a directory isn't an index, or is damaged, or is of a newer format
    │   └── IndexDamagedError a file of an index isn't what was written
    ├── IndexExistsError    the place where an index should go is taken
    ├── TrainingError       a training can't go on, or its output directory is in use
    ├── IndexLockedError    another process is at work on an index
    ├── ServerError         a server of xtrkit did not do what it was asked, or can't be reached
    ├── WorkerError         a process that encoded texts ended before it was done
    ├── ShardDownError      a shard of a cluster does not answer
    ├── StorageError        the operating system could not write or read a file of an index
    └── MissingExtraError   an optional dependency isn't installed (also an ImportError)

Each message is one sentence or two that say what was got, what was expected and what to do. The command line prints
it without a traceback and exits with 1.
"""

from collections.abc import Sequence


class XtrkitWarning(UserWarning):
    """Something that was done, but may not be what was meant: texts that are cut off, or that the model can't read."""


class XtrkitError(Exception):
    """Base of all errors that xtrkit raises on purpose."""


class InputError(XtrkitError, ValueError):
    """A value that the caller gave can't be used."""


class CollectionError(InputError):
    """A file of passages, queries or judgements can't be read; the message names the file and the line.

    Attributes:
        problems: each file and record that can't be read, as :class:`xtrkit.texts.document.Problem`, where there is
            more to say of them than the message does.
    """

    def __init__(self, message: str, *, problems: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class ModelError(XtrkitError):
    """A model can't be loaded, or isn't the one that an index was made with."""


class ExportError(ModelError):
    """An exported model doesn't give the vectors of its original; the message names the worst token."""


class IndexFormatError(XtrkitError):
    """A directory isn't an index, or is damaged, or was written by a newer version."""


class IndexDamagedError(IndexFormatError):
    """A file of an index isn't what was written; the message names the file."""


class IndexExistsError(XtrkitError):
    """The place where an index should be written is taken."""


class TrainingError(XtrkitError):
    """A training can't go on, or can't begin where it should write."""


class IndexLockedError(XtrkitError):
    """Another process is at work on an index."""


class ServerError(XtrkitError):
    """A server of xtrkit did not do what it was asked, or can't be reached.

    What is wrong with a request itself is an :class:`InputError`, as it is without a server.

    Attributes:
        status: of HTTP; None where there was no answer.
        kind: what the server calls it: "unauthorized", "forbidden", "overloaded", "timeout", "internal"; None where
            it was no server of xtrkit, or none at all.
    """

    def __init__(self, message: str, *, status: int | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class WorkerError(XtrkitError):
    """A process that encoded texts ended before it was done: it was killed, or memory ran out."""


class ShardDownError(XtrkitError):
    """A shard of a cluster does not answer: its process died and was not started again in time."""


class StorageError(XtrkitError):
    """The operating system refused to write or read a file of an index: disk full, input/output error, permissions."""


class MissingExtraError(XtrkitError, ImportError):
    """An optional dependency isn't installed; the message names the extra that brings it."""


def missing_extra(purpose: str, extra: str) -> MissingExtraError:
    """The error where optional dependencies aren't installed.

    The command that it names installs the packages themselves, as this version of xtrkit declares them: it works for an
    installation from a clone, which no index of packages knows, as well as for one from an index.

    Args:
        purpose: what can't be done without them, such as "Reading a PDF".
        extra: the extra of xtrkit that brings them.
    """
    packages = " ".join(f'"{package}"' for package in _packages_of(extra))
    return MissingExtraError(f"{purpose} needs the extra {extra!r}: run pip install {packages}")


def _packages_of(extra: str) -> list[str]:
    """What an extra brings, extras inside it resolved."""
    import re
    from importlib.metadata import requires

    found: dict[str, None] = {}
    for line in requires("xtrkit") or []:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        if not re.search(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""", marker):
            continue
        inner = re.fullmatch(r"xtrkit\[([^\]]+)\]", requirement)
        for one in [name.strip() for name in inner[1].split(",")] if inner else []:
            found |= dict.fromkeys(_packages_of(one))
        if not inner:
            found[requirement] = None
    return list(found)
