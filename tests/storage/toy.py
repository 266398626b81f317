"""A small index on the storage layer alone: texts with one vector each. It imports quickly and is killed often.

``STEPS`` is what the crash tests do with it: each step is one commit, ``STATES`` what must be there after each.
"""

import dataclasses
import itertools
import os
import shutil
import zlib
from pathlib import Path

import numpy as np

from xtrkit.passage import Part, Passage
from xtrkit.storage.arrays import open_arrays, write_arrays
from xtrkit.storage.files import check_content, flush, storage_errors
from xtrkit.storage.generations import (
    WriterLock,
    collect,
    commit,
    new_codec_name,
    new_segment_name,
    new_tombstones_name,
    pin,
)
from xtrkit.storage.manifest import Manifest, SegmentFacts
from xtrkit.storage.passage_file import PassageFile, write_passages
from xtrkit.storage.tombstones import read_tombstones, write_tombstones

DIM = 8


def vector_of(text):
    return np.random.default_rng(zlib.crc32(text.encode())).normal(size=DIM).astype(np.float16)


def passage_of(identifier, text):
    """A passage whose fields and part follow from its text, so that a reader can check them."""
    return Passage(identifier, text, {"length": len(text)}, Part("whole", 0, len(text)) if len(text) % 2 else None)


class Opened:
    """A generation, read as an index would read it."""

    def __init__(self, directory, generation=None):
        self.pin = pin(Path(directory), generation)
        self.manifest = self.pin.manifest
        self.segments = []
        if self.manifest.codec:
            open_arrays(self.pin.directory / self.manifest.codec.name)
        for facts in self.manifest.segments:
            arrays = open_arrays(self.pin.directory / facts.vectors.name)
            passages = PassageFile(self.pin.directory / facts.passages.name, facts.documents)
            dead = read_tombstones(self.pin.directory, facts.tombstones, facts.documents) if facts.tombstones else []
            self.segments.append((facts, arrays["vectors"], passages, set(map(int, dead))))

    def content(self):
        """{id: text} of what lives; everything that is read is compared with what was written."""
        found = {}
        for _, vectors, passages, dead in self.segments:
            for number, passage in enumerate(passages.all_passages(texts=True)):
                if number in dead:
                    continue
                assert passage.id not in found
                assert passage == passage_of(passage.id, passage.text)
                assert np.array_equal(vectors[number], vector_of(passage.text)), passage.id
                found[passage.id] = passage.text
        return found

    def close(self):
        for _, _, passages, _ in self.segments:
            passages.close()
        self.pin.close()


def _segment(directory, generation, texts):
    name = new_segment_name(generation)
    vectors = np.stack([vector_of(text) for text in texts.values()])
    passages = [passage_of(identifier, text) for identifier, text in texts.items()]
    return SegmentFacts(
        name=name,
        documents=len(texts),
        tokens=len(texts),
        dead=0,
        vectors=write_arrays(directory, f"{name}.vectors.safetensors", {"vectors": vectors}),
        passages=write_passages(directory, f"{name}.docs.sqlite", passages),
    )


def create(directory, texts):
    """As an index is made: in a hidden sibling, that gets its name when everything is on disk."""
    directory = Path(directory)
    building = directory.parent / f".{directory.name}.building"
    with storage_errors(building, "making it"):
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
    codec = write_arrays(building, new_codec_name(1), {"centroids": np.ones((2, DIM), dtype=np.float32)})
    commit(building, Manifest(1, "toy", {"dim": DIM}, codec, (_segment(building, 1, texts),)))
    flush(building)
    with storage_errors(directory, "naming it"):
        os.rename(building, directory)
    flush(directory.parent)


def change(directory, put=None, delete=(), compact=False):
    """One commit: the texts in ``put`` replace those of the same ids."""
    directory = Path(directory)
    lock = WriterLock(directory)
    opened = None
    try:
        opened = Opened(directory)
        generation = opened.manifest.generation + 1
        gone = {*(put or {}), *delete}
        segments = []
        for facts, _, passages, dead in opened.segments:
            killed = {number for number in map(passages.number, gone) if number is not None} | dead
            segments.append(_with_dead(directory, generation, facts, killed, dead))
        if compact:
            for file in opened.manifest.files:
                check_content(directory, file)
            segments = [_segment(directory, generation, opened.content())]
        if put:
            segments.append(_segment(directory, generation, put))
        commit(directory, dataclasses.replace(opened.manifest, generation=generation, segments=tuple(segments)))
        opened.close()
        collect(directory, keep=1 if compact else 2)
    finally:
        if opened:
            opened.close()
        lock.close()


def _with_dead(directory, generation, facts, killed, before):
    if killed == before:
        return facts
    name = new_tombstones_name(facts.name, generation)
    tombstones = write_tombstones(directory, name, np.array(sorted(killed), dtype=np.uint32))
    return dataclasses.replace(facts, dead=len(killed), tombstones=tombstones)


def named(generation, *identifiers):
    return {
        str(identifier): f"text {identifier} as of {generation}: n{identifier}g{generation} " + "é" * 40
        for identifier in identifiers
    }


STEPS = [
    ("create", named(1, *range(6))),
    ("put", named(2, 6, 7, 8)),
    ("put", named(3, 1, 6)),
    ("delete", ["2", "7"]),
    ("put", named(5, 2, 9)),
    ("compact", None),
    ("delete", ["0"]),
    ("put", named(8, 0, 1, 10)),
    ("put", named(9, 11)),
    ("compact", None),
    ("delete", ["11"]),
]


def apply(directory, step):
    kind, what = step
    if kind == "create":
        create(directory, what)
    elif kind == "put":
        change(directory, put=what)
    elif kind == "delete":
        change(directory, delete=what)
    else:
        change(directory, compact=True)


LAST = len(STEPS)


def _after(state, step):
    kind, what = step
    if kind == "delete":
        return {identifier: text for identifier, text in state.items() if identifier not in what}
    return state if kind == "compact" else {**state, **what}


STATES = list(itertools.accumulate(STEPS, _after, initial={}))
"""What lives after so many steps."""


def run(directory, first, last, report):
    """Take some steps and say so: "ack N" when N steps have been acknowledged."""
    for number, step in enumerate(STEPS[int(first) : int(last)], int(first) + 1):
        apply(directory, step)
        report(f"ack {number}")
