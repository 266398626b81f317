"""``verify``: is an index, or a cluster of shards, what was written?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from xtrkit.errors import IndexFormatError, StorageError, XtrkitError
from xtrkit.indexing.index_checking import IDS_SHOWN, Problem, Report, ids_of, repair_of, verify_index
from xtrkit.indexing.store import Store
from xtrkit.storage.manifest import manifest_name
from xtrkit.storage.shards import (
    ClusterManifest,
    ShardFacts,
    cluster_generations,
    cluster_name,
    is_cluster,
    pin_shard,
    read_cluster,
)

NOT_CHECKED = (
    "Of {} shards only sizes and structure were looked at: not the numbers in vectors and words, nor the checksums of "
    "passages, nor whether an id is in two shards. --full reads them."
)


def verify(path: Path, *, full: bool = False, advance: Callable[[int], None] = lambda amount: None) -> Report:
    """Look whether the newest generation of an index, or of a cluster with all its shards, is what was written.

    Args:
        path: the index.
        full: read every file and compare its sha256, every row its CRC, and every place whether it leads back, and look
            whether an id comes twice. Without it: sizes, headers, counts, and SQLite's own check.
        advance: told how many bytes were hashed.

    Raises:
        IndexFormatError: there is no index.
        StorageError: the directory can't be read.
    """
    if not is_cluster(path):
        return verify_index(path, full=full, advance=advance)
    begin, found = time.perf_counter(), cluster_generations(path)
    reports, problems = _looked_at(path, found[-1], full=full, advance=advance)
    back: list[int] = []
    if problems:  # the newest of the others in which all is what was written, whatever was asked for of this one
        older = (one for one in reversed(found[:-1]) if not _looked_at(path, one, full=True, advance=advance)[1])
        back = list(islice(older, 1))
    return Report(
        str(path),
        found[-1],
        full,
        sum(report.bytes_read for report in reports),
        time.perf_counter() - begin,
        problems,
        back if problems else [found[-1]],
        None if full or not reports else NOT_CHECKED.format(len(reports)),
        [f"{repair_of(path)} --rollback {generation}" for generation in back],
    )


def _looked_at(
    path: Path, generation: int, *, full: bool, advance: Callable[[int], None]
) -> tuple[list[Report], list[Problem]]:
    """What was found of each shard of a generation, and what is wrong with all of it."""
    try:
        cluster = read_cluster(path, generation)
    except (IndexFormatError, StorageError) as error:
        return [], [Problem(cluster_name(generation), None, str(error))]
    reports = [_of_shard(path, shard, cluster, full=full, advance=advance) for shard in cluster.shards]
    problems = [problem for report in reports for problem in report.problems]
    return reports, problems + (_ids_that_come_twice(path, cluster) if full else [])


def _of_shard(
    path: Path, shard: ShardFacts, cluster: ClusterManifest, *, full: bool, advance: Callable[[int], None]
) -> Report:
    """What is wrong with a shard: that it is not the one that the cluster names, or what of its files."""
    foreign: list[Problem] = []
    try:
        pin_shard(path, shard, cluster.codec).close()
    except (XtrkitError, OSError) as error:
        foreign.append(Problem(shard.name, None, str(error)))
    if not (path / shard.name / manifest_name(shard.generation)).is_file():
        return Report(str(path), shard.generation, full, 0, 0.0, foreign, [])
    report = verify_index(path / shard.name, shard.generation, full=full, advance=advance)
    known = {problem.problem for problem in report.problems}  # a damaged file, say, which kept it from being pinned
    report.problems[:0] = [problem for problem in foreign if problem.problem not in known]
    return replace(report, problems=[_inside(shard.name, problem) for problem in report.problems])


def _inside(shard: str, problem: Problem) -> Problem:
    file = problem.file if problem.file == shard else f"{shard}/{problem.file}"
    return replace(problem, file=file, segment=problem.segment and f"{shard}/{problem.segment}")


def _ids_that_come_twice(path: Path, cluster: ClusterManifest) -> list[Problem]:
    """Ids of living documents that an earlier shard has, too; of shards that can be opened."""
    problems, seen = [], dict[str, str]()
    for shard in cluster.shards:
        try:
            with closing(Store.open(path / shard.name, shard.generation)) as store:
                ids = {one for segment in store.segments for one in ids_of(segment.passages, segment.live)}
        except (XtrkitError, OSError):
            continue  # told by the shard's own check
        others = Counter(seen[one] for one in ids if one in seen)
        for other, count in others.items():
            twice = sorted(one for one in ids if seen.get(one) == other)[:IDS_SHOWN]
            problems.append(
                Problem(
                    shard.name,
                    None,
                    f"{count:,} ids of {path / shard.name} are in {other}, too: delete them from the index that the "
                    "shards were made of, and split that anew.",
                    twice,
                )
            )
        seen |= dict.fromkeys(ids - seen.keys(), shard.name)
    return problems
