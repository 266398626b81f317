"""What the processes of :mod:`tests.storage.test_concurrency` do. It imports little, so that they start at once."""

import time

import numpy as np

from tests.storage import toy
from xtrkit.errors import IndexLockedError


def texts_at(generation):
    """What generation g holds, by rule: anybody can tell whether it is whole."""
    return {str(number): f"text {number} {generation - generation % (number + 2)}" for number in range(6)}


def write(directory, seed):
    """Commit generation after generation, until killed."""
    while True:
        opened = toy.Opened(directory)
        generation = opened.manifest.generation + 1
        before = opened.content()
        opened.close()
        wanted = texts_at(generation)
        put = {identifier: text for identifier, text in wanted.items() if before.get(identifier) != text}
        try:
            toy.change(directory, put=put, compact=not put)
        except IndexLockedError:  # the writer that was killed is not quite dead
            time.sleep(0.01)
            continue
        print(generation, flush=True)  # noqa: T201


def read(directory, seed):
    """Open the newest generation again and again, and hold some of them for a while."""
    random, newest, held = np.random.default_rng(int(seed)), 0, None
    while True:
        opened = toy.Opened(directory)
        generation = opened.manifest.generation
        assert generation >= newest, (generation, newest)
        newest = generation
        assert opened.content() == texts_at(generation)
        if held is not None and random.random() < 0.1:
            assert held.content() == texts_at(held.manifest.generation)
            held.close()
            held = None
        if held is None:
            held = opened
        else:
            opened.close()
        print(generation, flush=True)  # noqa: T201
        time.sleep(0.01 * random.random())  # four that never rest would leave a writer hardly any time
