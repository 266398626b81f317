"""What an index will take, before it is built."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from xtrkit.indexing.centroids import SAMPLE_PER_CENTROID, centroid_count
from xtrkit.indexing.codec import code_width
from xtrkit.indexing.postings import ORDERED_BYTES, SAMPLE_FLOATS

PER_TOKEN = 10
"""Bytes beside a token's codes: its scale (2), its document (4) and its place (4)."""

PER_PASSAGE = 32
"""Bytes beside a passage's id and text, about: its length, and what SQLite keeps for finding it."""

BUILDING_PER_TOKEN = 14
"""Bytes of memory that a build takes for each token."""

BLOCKS = 300 << 20
"""Memory of the blocks of vectors that a few threads are at work on, at most."""

PROCESS = 200 << 20
"""Memory of a process that has done nothing yet but compile kernels."""


@dataclass(frozen=True)
class Estimate:
    """What an index takes, in bytes.

    Attributes:
        index: on disk, when it is there.
        building: on disk beside it, while it is built.
        memory: at most, while it is built; an encoder comes on top.
    """

    index: int
    building: int
    memory: int


def estimated(
    n_tokens: int, n_passages: int, text_bytes: int, dim: int, nbits: int | None, code_dim: int | None = None
) -> Estimate:
    """What an index of so many tokens, passages and bytes of ids and texts takes.

    Args:
        n_tokens: M, about; as many as are left where they are pooled.
        n_passages: N.
        text_bytes: bytes of all ids and texts, about.
        dim: d.
        nbits: bits a dimension; None where vectors are kept as they are.
        code_dim: how many dimensions codes keep; None where they keep all.
    """
    passages, vectors = text_bytes + PER_PASSAGE * n_passages, 2 * dim * n_tokens
    if nbits is None:
        return Estimate(vectors + passages, vectors + passages, PROCESS)
    kept = code_dim or dim
    codes, n_centroids = code_width(kept, nbits) * n_tokens, centroid_count(n_tokens)
    index = codes + PER_TOKEN * n_tokens + n_centroids * (kept + 8) + 4 * dim * kept + passages
    sample = 4 * min(SAMPLE_FLOATS, dim * min(n_tokens, SAMPLE_PER_CENTROID * n_centroids))
    blocks = min(BLOCKS, 40 * dim * n_tokens)
    compressing = BUILDING_PER_TOKEN * n_tokens + blocks + 2 * min(codes, ORDERED_BYTES)
    memory = PROCESS + max(sample + sample // 2, compressing)
    return Estimate(index, vectors + passages + codes, memory)


def told(estimate: Estimate, n_tokens: int, n_passages: int, path: Path) -> str:
    """The estimate as a sentence or two; says so where the disk lacks the room."""
    sentence = (
        f"{n_passages:,} passages, about {_rounded(n_tokens)} tokens: an index of about {_bytes(estimate.index)}; "
        f"while it is built another {_bytes(estimate.building)} on disk, and at most about {_bytes(estimate.memory)} "
        "of memory beside the model's."
    )
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free, needed = shutil.disk_usage(folder).free, estimate.index + estimate.building
    if free < needed:
        sentence += f" There is not that much room: {_bytes(free)} are free on the disk of {folder}."
    return sentence


def _rounded(number: int) -> str:
    return f"{number:,}" if number < 1000 else f"{float(f'{number:.2g}'):,.0f}"


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6))} MB"
