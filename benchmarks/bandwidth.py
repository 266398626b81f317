"""How fast one core reads memory: all of it in order, and runs the size of a cluster's codes at random places.

    python benchmarks/bandwidth.py

The second is what a search of clusters can hope for: prediction = bytes of opened clusters / this bandwidth.
benchmarks/stages.py reads the very runs that a search opens, by the same loop.
"""

import statistics
import time

import numpy as np
from numba import njit

BYTES = 1 << 30
RUNS = 20_000


@njit(fastmath=True)
def total(words):
    sum_ = 0
    for word in words:
        sum_ += word
    return sum_


@njit
def totals(words, starts, stops):
    sum_ = 0
    for run in range(len(starts)):
        sum_ += total(words[starts[run] : stops[run]])
    return sum_


def gigabytes_a_second(read, size):
    read()
    seconds = []
    for _ in range(7):
        begin = time.process_time()
        read()
        seconds.append(time.process_time() - begin)
    return (
        f"{size / min(seconds) / 1e9:5.1f} GB/s at best, {size / statistics.median(seconds) / 1e9:5.1f} in the median"
    )


def main():
    words = np.ones(BYTES // 8, dtype=np.int64)
    print("in order:", gigabytes_a_second(lambda: total(words), words.nbytes))
    rng = np.random.default_rng(0)
    for size in (5_120, 20_480):
        length = size // 8
        starts = rng.integers(0, len(words) - length, RUNS)
        stops = starts + length
        found = gigabytes_a_second(lambda starts=starts, stops=stops: totals(words, starts, stops), RUNS * size)
        print(f"runs of {size:,} bytes:", found)


if __name__ == "__main__":
    main()
