"""The names and calls of other late-interaction libraries, on xtrkit, for those who move (``docs/moving.md``)."""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
