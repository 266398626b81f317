"""Serving indexes: over HTTP, and to agents."""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__)
