"""Requests of many threads that are searched in batches."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xtrkit.errors import InputError
from xtrkit.serving.gathering import Gathering


class Searching:
    """Answers with what it was asked, and holds the first batch until it is told to go on."""

    def __init__(self):
        self.batches, self.go_on, self.begun = [], threading.Event(), threading.Event()

    def search_batch(self, queries, k, **choices):
        self.batches.append(list(queries))
        self.begun.set()
        assert self.go_on.wait(30)
        if "bad" in queries:
            raise InputError("A query is bad.")
        if "worse" in queries:
            raise ZeroDivisionError
        return [(query, k, choices) for query in queries]


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as threads:
        yield threads


def asked_while_busy(pool, requests, **limits):
    """The answers of requests that came while one was at work, and the batches that they were searched in."""
    searching = Searching()
    gathering = Gathering(searching.search_batch, at_once=1, **limits)
    first = pool.submit(gathering.search_batch, ["first"], 1)
    assert searching.begun.wait(30)
    futures = [pool.submit(gathering.search_batch, queries, k, **choices) for queries, k, choices in requests]
    while len(gathering._waiting) < len(requests):
        pass
    searching.go_on.set()
    assert first.result(30) == [("first", 1, {})]
    return futures, searching.batches[1:]


def test_alone_a_request_waits_for_nobody():
    searching = Searching()
    searching.go_on.set()
    assert Gathering(searching.search_batch).search_batch(["q"], 3, explain=True) == [("q", 3, {"explain": True})]
    assert Gathering(searching.search_batch).search_batch([], 3) == []


def test_what_waits_is_one_batch(pool):
    requests = [([f"a{number}", f"b{number}"], 5, {"where": {"x": 1}}) for number in range(6)]
    futures, batches = asked_while_busy(pool, requests)
    for future, (queries, k, choices) in zip(futures, requests, strict=True):
        assert future.result(30) == [(query, k, choices) for query in queries]
    assert [len(batch) for batch in batches] == [12]


def test_batches_are_of_requests_that_ask_alike_and_not_too_large(pool):
    requests = [([f"q{number}"], 5 + number % 2, {}) for number in range(10)] + [([f"m{n}" for n in range(9)], 5, {})]
    futures, batches = asked_while_busy(pool, requests, most=4)
    for future, (queries, k, _) in zip(futures, requests, strict=True):
        assert [answer[:2] for answer in future.result(30)] == [(query, k) for query in queries]
    assert sorted(map(len, batches)) == [1, 1, 4, 4, 9]


def test_a_bad_query_spoils_no_other_request(pool):
    futures, batches = asked_while_busy(pool, [(["a"], 5, {}), (["bad"], 5, {}), (["b"], 5, {})])
    assert futures[0].result(30) == [("a", 5, {})]
    assert futures[2].result(30) == [("b", 5, {})]
    with pytest.raises(InputError, match=r"A query is bad\."):
        futures[1].result(30)
    assert len(batches) == 4


def test_an_error_of_ours_reaches_all(pool):
    futures, batches = asked_while_busy(pool, [(["a"], 5, {}), (["worse"], 5, {})])
    for future in futures:
        with pytest.raises(ZeroDivisionError):
            future.result(30)
    assert len(batches) == 1


def test_two_batches_at_a_time(pool):
    searching = Searching()
    gathering = Gathering(searching.search_batch)
    futures = [pool.submit(gathering.search_batch, [f"q{number}"], number) for number in range(8)]
    while len(gathering._waiting) < 6:
        pass
    assert len(searching.batches) == 2
    searching.go_on.set()
    assert [future.result(30) for future in futures] == [[(f"q{number}", number, {})] for number in range(8)]
