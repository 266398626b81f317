"""Figures for Prometheus. Each process counts its own; what is known of an index is asked for when it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Seconds. A search takes some milliseconds, a commit some hundred."""

REASONS = {401: "key", 403: "key", 408: "slow", 413: "too_large", 431: "too_large", 503: "overloaded", 504: "deadline"}
"""Why requests of a status were refused."""

Facts = Callable[[], Iterable[tuple[str, Mapping[str, float]]]]
"""Names of indexes, and figures of each."""


class Metrics:
    """What one process counts.

    Attributes:
        registry: its own, so that several apps in one process don't meet.
    """

    def __init__(self, facts: Facts) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "xtrkit_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "xtrkit_request_seconds",
            "From a request to its answer.",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "xtrkit_stage_seconds", "Stages of searches.", ["stage"], buckets=BUCKETS, registry=self.registry
        )
        self._refused = Counter("xtrkit_refused", "Requests refused, by reason.", ["reason"], registry=self.registry)
        self._at_work = Gauge("xtrkit_requests_in_flight", "Requests at work or waiting.", registry=self.registry)
        self.commits = Counter("xtrkit_commits", "Commits of this process.", ["index"], registry=self.registry)
        self.changes = Counter(
            "xtrkit_changes",
            "Requests that changed an index; those of one commit are a group.",
            ["index"],
            registry=self.registry,
        )
        self.registry.register(_OfIndexes(facts))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count a request while it is answered."""
        self._at_work.inc()
        try:
            yield
        finally:
            self._at_work.dec()

    def answered(self, route: str, method: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Count a request that was answered; status 0 where the client went away."""
        known = method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH") else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        for stage, took in stages.items():
            self._stages.labels(stage).observe(took)
        if status in REASONS:
            self._refused.labels(REASONS[status]).inc()

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self.registry)


class _OfIndexes(Collector):
    """Figures of indexes, as they are when somebody asks."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Any]:
        """One family for each figure."""
        families: dict[str, GaugeMetricFamily] = {}
        for index, figures in self._facts():
            for name, value in figures.items():
                if name not in families:
                    families[name] = GaugeMetricFamily(f"xtrkit_index_{name}", f"The index's {name}.", labels=["index"])
                families[name].add_metric([index], value)
        yield from families.values()

    def describe(self) -> list[Any]:
        """None ahead: which there are is known when the indexes are opened."""
        return []
