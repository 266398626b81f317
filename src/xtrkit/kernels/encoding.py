"""What an index is built with, around the matrix products that BLAS does.

Residuals become codes on an affine grid (layout of :mod:`xtrkit.kernels.codes`), tokens are sorted into groups and
clusters. What is added up over dimensions in an encoder's inner loop is an integer, which LLVM may add up in any order,
and therefore in vectors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xtrkit.kernels.jit import kernel, part


@kernel
def encode_grid(
    residuals: npt.NDArray[np.float32],
    bits: int,
    factors: npt.NDArray[np.float32],
    codes: npt.NDArray[np.uint8],
    scales: npt.NDArray[np.float32],
) -> None:
    """Codes and scale of each residual: of the scales tried, the one that leaves the least squared error.

    With u_j = code_j − offset for a tried step, the best scale is r·u / u·u and the squared error |r|² − (r·u)² / u·u,
    so the step with the largest (r·u)² / u·u wins. For these products a residual is rounded to integers, to 15 bits of
    its largest component, or to as many as leave r·u in 32 bits.

    Args:
        residuals: (B, d).
        bits: 1, 2, 4 or 8.
        factors: (F,) the steps to try, as fractions of the step that would just reach the largest component.
        codes: (B, w) receives the packed codes.
        scales: (B,) receives the scales.
    """
    d, w, per_byte = residuals.shape[1], codes.shape[1], 8 // bits
    top = np.int32(2**bits - 1)
    offset, least = np.float32(top) / np.float32(2), np.float32(1e-30)
    reach = np.float32(min(32767, (2**31 - 1) // (d * (2**bits - 1))))
    levels, best_levels = np.empty(d, dtype=np.int16), np.empty(d, dtype=np.int16)  # 2 u
    rounded = np.empty(d, dtype=np.int16)
    for t in range(len(residuals)):
        row = residuals[t]
        largest = np.float32(0)
        for j in range(d):
            size = abs(row[j])
            largest = size if size > largest else largest
        largest = max(largest, least)
        per_unit = reach / largest
        for j in range(d):
            rounded[j] = np.int16(np.int32(row[j] * per_unit))
        best, scales[t] = -1.0, np.float32(0)
        for f in range(len(factors)):
            inverse = np.float32(1) / max(factors[f] * largest / offset, least)
            for j in range(d):
                code = np.int32(row[j] * inverse + (offset + np.float32(0.5)))  # cuts off: negative ones are 0 next
                code = np.int32(0) if code < np.int32(0) else code
                code = top if code > top else code
                levels[j] = np.int16(np.int32(2) * code - top)
            with_row, with_self = np.int32(0), np.int32(0)
            for j in range(d):
                with_row += np.int32(rounded[j]) * np.int32(levels[j])
                with_self += np.int32(levels[j]) * np.int32(levels[j])
            gain = np.float64(with_row) * np.float64(with_row) / np.float64(with_self)
            if gain > best:
                best, scales[t] = gain, np.float64(2 * with_row) / (np.float64(per_unit) * np.float64(with_self))
                levels, best_levels = best_levels, levels
        packed = codes[t]
        for j in range(w):
            byte = np.int32(0)
            for field in range(per_byte):
                code = (np.int32(best_levels[field * w + j]) + top) >> np.int32(1)
                byte |= code << np.int32(field * bits)
            packed[j] = np.uint8(byte)


@kernel
def members_of_groups(
    similar: npt.NDArray[np.float32],
    most: int,
    margins: npt.NDArray[np.float32],
    members: npt.NDArray[np.int64],
    bounds: npt.NDArray[np.int64],
) -> None:
    """The groups most alike to each row, turned round: the rows that each group is looked through for.

    Args:
        similar: (B, G) similarities of rows and groups.
        most: how many groups a row has at most.
        margins: (B,) how much less alike than the most alike of them a row's groups may be.
        members: (B · most or more,) receives the rows of each group, group after group, ascending.
        bounds: (G + 1,) receives where each group's begin and end.
    """
    n_rows, n_groups = similar.shape
    chosen = np.empty((n_rows, most), dtype=np.int32)
    counts = np.zeros(n_rows, dtype=np.int64)
    values = np.empty(most, dtype=np.float32)
    bounds[:] = 0
    for t in range(n_rows):
        counts[t] = _most_alike(similar[t], margins[t], values, chosen[t])
        for place in range(counts[t]):
            bounds[chosen[t, place] + 1] += 1
    for g in range(n_groups):
        bounds[g + 1] += bounds[g]
    free = bounds[:n_groups].copy()
    for t in range(n_rows):
        for place in range(counts[t]):
            g = chosen[t, place]
            members[free[g]] = t
            free[g] += 1


@part
def _most_alike(
    row: npt.NDArray[np.float32],
    margin: np.float32,
    values: npt.NDArray[np.float32],
    groups: npt.NDArray[np.int32],
) -> int:
    """The largest numbers of a row that are within a margin of the largest, and where they are; returns how many."""
    most, count = len(values), 1
    values[0], groups[0] = row[0], 0
    lowest = row[0] if most == 1 else row[0] - margin
    for g in range(1, len(row)):
        value = row[g]
        if value > lowest:
            place = min(count, most - 1)
            while place > 0 and values[place - 1] < value:
                values[place], groups[place] = values[place - 1], groups[place - 1]
                place -= 1
            values[place], groups[place] = value, g
            count = min(count + 1, most)
            lowest = values[0] - margin
            if count == most:
                lowest = max(lowest, values[most - 1])
    while count > 1 and values[count - 1] <= values[0] - margin:
        count -= 1
    return count


@kernel
def keep_better(
    products: npt.NDArray[np.float32],
    nearest: npt.NDArray[np.int64],
    members: npt.NDArray[np.int64],
    first: int,
    best: npt.NDArray[np.float32],
    assigned: npt.NDArray[np.int32],
) -> None:
    """Take a group's nearest centroids where they are nearer than those found before.

    Args:
        products: (K, c) similarities of some rows with the centroids of a group.
        nearest: (K,) which of them is the largest.
        members: (K,) which rows they are.
        first: number of the group's first centroid.
        best: (B,) the largest similarity of each row so far.
        assigned: (B,) the centroid that it is with.
    """
    for k in range(len(members)):
        row, value = members[k], products[k, nearest[k]]
        if value > best[row]:
            best[row], assigned[row] = value, first + nearest[k]


@kernel
def add_by_cluster(
    rows: npt.NDArray[np.float32], assigned: npt.NDArray[np.int32], sums: npt.NDArray[np.float64]
) -> None:
    """Add each of (B, d) rows to its cluster's among (C, d) sums."""
    for t in range(len(rows)):
        row, total = rows[t], sums[assigned[t]]
        for j in range(len(row)):
            total[j] += row[j]


@kernel
def place_by_cluster(
    assigned: npt.NDArray[np.int32], sizes: npt.NDArray[np.int64], positions: npt.NDArray[np.uint32]
) -> None:
    """Where each token goes if tokens stand cluster after cluster, and in their order in each.

    Args:
        assigned: (M,) cluster of each token.
        sizes: (C,) receives how many tokens each cluster has; zeros before.
        positions: (M,) receives the places.
    """
    for t in range(len(assigned)):
        sizes[assigned[t]] += 1
    free, first = np.empty_like(sizes), 0
    for cluster in range(len(sizes)):
        free[cluster] = first
        first += sizes[cluster]
    for t in range(len(assigned)):
        cluster = assigned[t]
        positions[t] = free[cluster]
        free[cluster] += 1


@kernel
def floats_to_halves(
    floats: npt.NDArray[np.float32], bits: npt.NDArray[np.uint32], halves: npt.NDArray[np.uint16]
) -> None:
    """Round floats to halves, to the even one of two that are as near: NumPy takes 6 ns an element, this .7.

    Args:
        floats: flat float32 numbers.
        bits: ``floats.view(uint32)``.
        halves: receives bit patterns of float16 numbers: infinite beyond 65,504, and some NaN for a NaN.
    """
    for i in range(halves.size):
        size = bits[i] & np.uint32(0x7FFFFFFF)
        odd = (size >> np.uint32(13)) & np.uint32(1)
        rounded = (size + odd + np.uint32(0xC8000FFF)) >> np.uint32(13)  # the exponent counts from 15 instead of 127
        small = np.uint32(np.int32(np.rint(min(abs(floats[i]), np.float32(1)) * np.float32(1 << 24))))
        endless = np.uint32(0x7E00) if size > np.uint32(0x7F800000) else np.uint32(0x7C00)
        half = small if size < np.uint32(0x38800000) else rounded
        half = endless if size >= np.uint32(0x47800000) else half
        halves[i] = np.uint16(half | ((bits[i] >> np.uint32(16)) & np.uint32(0x8000)))


@kernel
def leads_back(
    positions: npt.NDArray[np.uint32],
    document_offsets: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int32],
    seen: npt.NDArray[np.bool_],
) -> bool:
    """Whether each token has a row of its own, which says that it belongs to the token's document.

    Args:
        positions: (M,) the row of each token, below M.
        document_offsets: (N + 1,) where each document's tokens begin and end.
        documents: (M,) the document of each row.
        seen: (M,) False.
    """
    wrong = 0
    for document in range(len(document_offsets) - 1):
        for t in range(document_offsets[document], document_offsets[document + 1]):
            row = positions[t]
            wrong += seen[row] or documents[row] != document
            seen[row] = True
    return wrong == 0
