"""Serving indexes over HTTP: ``xtrkit serve``, or ``create_app(Settings(…))`` for a server of one's own.

A request goes from ``routes/`` (what is asked, as a model of pydantic) to :class:`~xtrkit.serving.service.Service`
(which index, and a thread to search it in) and comes back as :mod:`xtrkit.answers` has it. What is none of a route's
business stands around them: sizes and times (``limits.py``), keys, problems, logs, metrics.
"""

from xtrkit.lazy import lazy

__getattr__, __dir__ = lazy(__name__, {"Settings": "xtrkit.serving.settings", "create_app": "xtrkit.serving.app"})
