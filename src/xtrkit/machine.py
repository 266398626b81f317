"""How many of the machine's cores this process may use: by its affinity, and by the quotas of its control groups.

A container with a quota of two cores on a host of 64 sees 64: with so many threads it gets its time in short bursts,
and stands still between them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path

PROC = Path("/proc/self")


def usable_cores(proc: Path = PROC) -> int:
    """How many cores this process may use, at least 1.

    Args:
        proc: where the kernel tells of this process: its ``cgroup`` and ``mountinfo`` are read.
    """
    return max(1, min([_cores_of_affinity(), *(ceil(quota) for quota in _quotas(proc))]))


def multiplies_bytes() -> bool:
    """Whether products of bytes are faster than those of floats: not where an x86 processor has AVX2 and no VNNI."""
    from llvmlite import binding

    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM doesn't know this processor
        return True
    return not features.get("avx2", False) or any(features.get(name, False) for name in ("avx512vnni", "avxvnni"))


def _cores_of_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(proc: Path) -> Iterator[float]:
    """How many cores' time each control group allows that this process is in, itself or by way of its ancestors."""
    mounts = list(_mounts(proc / "mountinfo"))
    for line in _lines(proc / "cgroup"):
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        version_2 = not controllers
        if not version_2 and "cpu" not in controllers.split(","):
            continue
        for root, point, kind, options in mounts:
            if kind == ("cgroup2" if version_2 else "cgroup") and (version_2 or "cpu" in options):
                for directory in _up(point, _inside(root, group)):
                    quota = _quota_2(directory) if version_2 else _quota_1(directory)
                    if quota is not None:
                        yield quota


def _mounts(file: Path) -> Iterator[tuple[str, Path, str, list[str]]]:
    """Of each mount: which part of its file system is mounted, where, of what kind it is, and with which options."""
    for line in _lines(file):
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), [*after.split(), "", "", ""][:3]
        if len(fields) > 4:
            yield _unescaped(fields[3]), Path(_unescaped(fields[4])), kind, options.split(",")


def _unescaped(field: str) -> str:
    """A path of ``mountinfo``, where white space and backslashes are written as octal numbers."""
    for written, meant in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(written, meant)
    return field


def _inside(root: str, group: str) -> str:
    """A control group's path below the mount: a container often sees only its own, named as the host names it."""
    root = root.rstrip("/")
    if group == root or group.startswith(root + "/"):
        return group[len(root) :]
    return group


def _up(mount: Path, group: str) -> Iterator[Path]:
    """A control group's directory and those above it, as far as the mount; only the mount's where it isn't there."""
    parts = [part for part in group.split("/") if part not in ("", ".", "..")]
    for length in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:length])


def _quota_2(directory: Path) -> float | None:
    """``cpu.max`` holds quota and period, in microseconds."""
    return _share((" ".join(_lines(directory / "cpu.max"))).split())


def _quota_1(directory: Path) -> float | None:
    return _share([*_lines(directory / "cpu.cfs_quota_us"), *_lines(directory / "cpu.cfs_period_us")])


def _share(fields: list[str]) -> float | None:
    """Quota over period; None where there is no quota, which is written ``max`` or -1."""
    try:
        quota, period = (int(field) for field in fields)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _lines(file: Path) -> list[str]:
    """The lines of a file; none where there is none, as elsewhere than on Linux."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
