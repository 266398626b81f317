"""Every error that xtrkit raises on purpose.

::

    XtrkitError
    ├── InputError          a value that the caller gave can't be used (also a ValueError)
    │   └── CollectionError a file of passages, queries or judgements can't be read
    ├── ModelError          a model can't be loaded, or isn't the one that an index was made with
    ├── IndexFormatError    a directory isn't an index, or is damaged, or is of a newer format
    ├── IndexExistsError    the place where an index should go is taken
    ├── TrainingError       a training can't go on, or its output directory is in use
    └── MissingExtraError   an optional dependency isn't installed (also an ImportError)

Each message is one sentence or two that say what was got, what was expected and what to do. The command line prints
it without a traceback and exits with 1.
"""


class XtrkitError(Exception):
    """Base of all errors that xtrkit raises on purpose."""


class InputError(XtrkitError, ValueError):
    """A value that the caller gave can't be used."""


class CollectionError(InputError):
    """A file of passages, queries or judgements can't be read; the message names the file and the line."""


class ModelError(XtrkitError):
    """A model can't be loaded, or isn't the one that an index was made with."""


class IndexFormatError(XtrkitError):
    """A directory isn't an index, or is damaged, or was written by a newer version."""


class IndexExistsError(XtrkitError):
    """The place where an index should be written is taken."""


class TrainingError(XtrkitError):
    """A training can't go on, or can't begin where it should write."""


class MissingExtraError(XtrkitError, ImportError):
    """An optional dependency isn't installed; the message names the extra that brings it."""
