"""Token vectors out of an index, for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from xtrkit.errors import InputError
from xtrkit.indexing.merging import LivingRows
from xtrkit.storage.arrays import ArraySpec, ArrayWriter, append_array
from xtrkit.storage.files import storage_errors


def write_vectors(target: Path, rows: LivingRows, ids: Iterable[str]) -> tuple[int, int]:
    """Write token vectors, their lengths and their ids; :meth:`xtrkit.Index.export_vectors` tells how.

    Returns:
        how many documents, and how many vectors.

    Raises:
        InputError: the file's name ends neither in .safetensors nor in .npy.
        StorageError: a file is there already, or can't be written.
    """
    if target.suffix not in (".safetensors", ".npy"):
        raise InputError(f"{target} must end in .safetensors or .npy.")
    lengths = rows.lengths().astype("<i4")
    if target.suffix == ".npy":
        _write_npy(target, rows, lengths)
    else:
        specs = {"lengths": ArraySpec("<i4", lengths.shape), "vectors": ArraySpec("<f2", (rows.n_tokens, rows.dim))}
        with ArrayWriter(target.parent, target.name, specs) as writer:
            writer.append("lengths", lengths)
            for _, vectors in rows.blocks():
                writer.append("vectors", vectors)
            writer.finish()
    names = target.with_suffix(".ids.txt")
    with storage_errors(names, "writing"), names.open("x", encoding="utf-8") as file:
        file.writelines(json.dumps(identifier, ensure_ascii=False) + "\n" for identifier in ids)
    return len(lengths), rows.n_tokens


def _write_npy(target: Path, rows: LivingRows, lengths: np.ndarray) -> None:
    with storage_errors(target, "writing"), target.open("xb") as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": (rows.n_tokens, rows.dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for _, vectors in rows.blocks():
            append_array(file, vectors.astype("<f2"))
    beside = target.with_suffix(".lengths.npy")
    with storage_errors(beside, "writing"), beside.open("xb") as file:
        np.save(file, lengths)
