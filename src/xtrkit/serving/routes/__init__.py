"""Groups of routes, one module each.

To add a group: write ``routes/NAME.py`` with ``router = group("name")`` of :mod:`xtrkit.serving.limits`, whose routes
are coroutines that take ``service: Asked`` (:mod:`xtrkit.serving.service`) and a model of pydantic that forbids unknown
fields; and put ``NAME.router`` into ``ROUTERS`` of ``app.py``. What a route raises becomes a typed problem: raise
:class:`~xtrkit.serving.problems.Problem`, or let errors of xtrkit through. Whatever takes longer than a moment goes
through ``await service.run(…)``. A group that changes an index takes ``writes: Writing`` of
:mod:`xtrkit.serving.writes`, which needs the write key; paths with large bodies go into ``limits.LARGE_BODIES``, paths
that need no key into ``keys.PUBLIC``.
"""
