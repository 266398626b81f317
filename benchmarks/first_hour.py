"""What stands between a stranger and the first answer: compiling, cutting long texts, looking for what changed.

    python benchmarks/first_hour.py

Predictions before measuring: the first search after ``xtrkit index`` on a machine that has compiled nothing takes what
a second one does, about 2 s, of which importing Numba is one; 11 MB of text are cut as fast as a beginning is read;
looking at 1,000 unchanged files costs 1,000 calls of ``stat`` beside the start of Python.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = ["the", "quick", "brown", "foxes", "jump", "over", "lazy", "dogs", "while", "engineers", "measure", "tokens"]


def command(*arguments, **environment):
    """Run a command of xtrkit; wall and CPU seconds."""
    used, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "xtrkit", *map(str, arguments)],
        check=True,
        capture_output=True,
        env={**os.environ, **environment},
    )
    wall, now = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def told(what, measured):
    print(f"{what}: {measured[0]:.2f} s wall, {measured[1]:.2f} s CPU")


def notes(folder, count):
    """Small files as if they had been written long ago."""
    folder.mkdir()
    for number in range(count):
        file = folder / f"{number}.txt"
        file.write_text(f"Note {number}: ship {number * 7} carries tea to port {number * 3}.")
        os.utime(file, (1.7e9, 1.7e9))


def first_search(directory):
    notes(directory / "few", 30)
    cache = {"NUMBA_CACHE_DIR": str(directory / "cache")}
    told("index of 30 notes, nothing compiled", command("index", directory / "few", directory / "idx", **cache))
    for which in ("first", "second"):
        told(f"{which} search", command("search", directory / "idx", "which ship carries tea?", **cache))


def cutting():
    from xtrkit.encoding import load_encoder

    encoder = load_encoder()
    text = " ".join(WORDS[number * 7 % len(WORDS)] for number in range(2_000_000))[:11_000_000]
    encoder.encode_documents(["warm"])
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    rows = encoder.encode_documents([text]).rows
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{len(text):,} characters, {len(rows)} tokens encoded: {seconds:.2f} s, {(after - before) / 1024:.0f} MB more"
    )


def syncing(directory):
    notes(directory / "many", 1000)
    told("sync of 1,000 new files", command("sync", directory / "many", directory / "synced"))
    for which in ("second", "third"):
        told(f"{which} sync, nothing changed", command("sync", directory / "many", directory / "synced"))


def main():
    with tempfile.TemporaryDirectory() as directory:
        first_search(Path(directory))
        cutting()
        syncing(Path(directory))


if __name__ == "__main__":
    main()
