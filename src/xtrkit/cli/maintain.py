"""The commands that change an index or look after it: add, delete, compact, verify, repair, backup, vectors."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from xtrkit.cli import render
from xtrkit.cli.grouping import grouped
from xtrkit.cli.options import Collection, Computing, IndexPath, Json, Model, Reading
from xtrkit.cli.output import print_json, print_text

if TYPE_CHECKING:
    from xtrkit.texts.reading import Files
    from xtrkit.texts.syncing import SyncSummary
from xtrkit.errors import InputError

out = Console(soft_wrap=True, markup=False)


@grouped
def add(
    index: IndexPath,
    collection: Collection,
    reading: Reading,
    computing: Computing,
    as_json: Json = False,
    model: Model = None,
) -> None:
    """Add documents to an index; one whose id is there already is replaced.

    They are cut into passages as those of the index were. All is committed at once: searches see the old index until
    then, and a run that is stopped changes nothing.

    Example: [bold]xtrkit add idx new-notes/[/]
    """
    from xtrkit.retriever import Retriever
    from xtrkit.texts.reading import open_source

    begin, source = time.perf_counter(), open_source(collection, reading.fields)
    retriever = Retriever.open(index, model=model, encoder_device=computing.device, encoder_runtime=computing.runtime)
    summary = retriever.add(source, workers=computing.workers, progress=not as_json, **reading.options)
    if not as_json:
        render.print_report(out, summary.report)
    _tell(summary, begin, as_json, f"Added {summary.added:,} passages and replaced {summary.updated:,}")


@grouped
def sync(
    folder: Annotated[str, typer.Argument(help="The folder, or a glob.", show_default=False)],
    index: IndexPath,
    reading: Reading,
    computing: Computing,
    as_json: Json = False,
    model: Model = None,
) -> None:
    """Bring an index up to a folder: add what is new, encode again what changed, delete what is gone.

    All in one commit; where nothing changed, nothing is done. The folder is named as it was for [bold]xtrkit index[/].
    Documents that came otherwise are left alone, but for those whose ids the folder has: they are replaced, and told.
    An index that is not there yet is made, as [bold]xtrkit index[/] does.

    Example: [bold]xtrkit sync notes/ idx[/]
    """
    from xtrkit.texts.changes import changes_of, folder_source, remembered

    begin, source = time.perf_counter(), folder_source(folder, reading.fields)
    if not index.exists():
        _make(source, index, reading, {**vars(computing), "model": model or "default"}, as_json=as_json)
        return
    generation, sources = remembered(index)
    changes = changes_of(source, sources)
    if not changes.any:  # which is found out without the engine, in a moment
        seconds = time.perf_counter() - begin
        if as_json:
            told = {**changes.counts, "generation": generation, "commit": None, "report": source.report.as_json()}
            print_json({"index": str(index), "seconds": seconds, **told})
            return
        render.print_report(out, source.report)
        out.print(f"Nothing has changed: {len(changes.unchanged):,} files are as they were indexed ({seconds:.1f} s).")
        return
    summary = _synced(source, index, reading, computing, model, as_json=as_json)
    if as_json:
        print_json({"index": str(index), "seconds": time.perf_counter() - begin, **summary.as_json()})
        return
    render.print_report(out, summary.report)
    out.print(
        f"Files: {summary.new:,} new, {summary.changed:,} changed, {summary.gone:,} gone, {summary.unchanged:,} as "
        "they were."
    )
    if summary.commit is not None:
        _tell(summary.commit, begin, as_json, f"Brought {index} up to {folder}")


def _synced(
    source: Files, index: Path, reading: Reading, computing: Computing, model: str | None, *, as_json: bool
) -> SyncSummary:
    from xtrkit.encoding.load import load_encoder_of
    from xtrkit.encoding.worker_pool import in_processes
    from xtrkit.errors import ModelError
    from xtrkit.index import Index
    from xtrkit.texts.syncing import sync_folder

    with Index.open(index) as opened, ExitStack() as stack:
        if (made_with := opened.encoder) is None:
            raise ModelError(f"The index at {index} was made of embeddings: nothing can be encoded for it.")
        return sync_folder(
            source,
            opened,
            lambda: stack.enter_context(
                in_processes(load_encoder_of(made_with, model, **computing.of_encoder), computing.workers)
            ),
            batch_size=reading.batch_size,
            skip_bad=reading.skip_bad,
            progress=not as_json,
        )


def _make(source: Files, index: Path, reading: Reading, encoding: dict[str, Any], *, as_json: bool) -> None:
    from xtrkit.retriever import Retriever

    begin = time.perf_counter()
    retriever = Retriever.create(index, source, progress=not as_json, **encoding, **reading.options)
    seconds, made = time.perf_counter() - begin, retriever.indexed
    if made is None:
        return
    if as_json:
        print_json({"index": str(index), "seconds": seconds, **made.as_json()})
        return
    render.print_report(out, made.report)
    out.print(f"Made {index} of {made.documents:,} documents, {made.passages:,} passages, in {seconds:.0f} s.")


def delete(
    index: IndexPath,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of passages.", show_default=False)] = None,
    ids_from: Annotated[
        Path | None, typer.Option(help="A file with one id a line; - is standard input.", show_default=False)
    ] = None,
    document: Annotated[
        list[str] | None,
        typer.Option(
            help="A document that was cut into passages: delete all of them. Several times.", show_default=False
        ),
    ] = None,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Pass over ids that are not there.")] = False,
    as_json: Json = False,
) -> None:
    """Delete passages from an index, by id or by document, all in one commit.

    Examples: [bold]xtrkit delete idx 17 23[/]   [bold]xtrkit delete idx --ids-from gone.txt[/]
    [bold]xtrkit delete idx --document report.txt[/]
    """
    from xtrkit.index import Index

    names = [*(ids or []), *(_lines(ids_from) if ids_from else [])]
    if not names and not document:
        raise InputError("There are no ids to delete: name some, a file with --ids-from, or a --document.")
    begin = time.perf_counter()
    with Index.open(index) as opened:
        summary = opened.delete(names, documents=document or (), missing_ok=missing_ok)
    _tell(summary, begin, as_json, f"Deleted {summary.deleted:,} passages")


def compact(
    index: IndexPath,
    retrain: Annotated[
        bool | None,
        typer.Option(
            help="Find new centroids, or keep them; by default as far as they no longer fit.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make one segment of all, without deleted passages: the index becomes smaller, and searches faster."""
    from xtrkit.index import Index

    begin = time.perf_counter()
    with Index.open(index) as opened:
        summary = opened.compact(retrain=retrain, progress=not as_json)
    _tell(summary, begin, as_json, "Found new centroids and compacted" if summary.retrained else "Compacted")


def verify(
    index: IndexPath,
    full: Annotated[
        bool, typer.Option("--full", help="Read everything: every file's sha256, every passage's checksum.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tell whether an index is what was written, what was not looked at, and which repair fits where it is not.

    The exit code is 0 where nothing wrong was found, 1 where something was. Without --full, what is in vectors isn't
    read: sizes, headers, counts, the tables of passages and the small files that all depends on are.
    """
    from xtrkit.indexing.checking import verify

    report = verify(index, full=full)
    if as_json:
        print_json({"ok": report.ok, **asdict(report)})
    else:
        print_text(render.report_text(report))
    if not report.ok:
        raise typer.Exit(1)


def repair(
    index: IndexPath,
    rollback: Annotated[
        int | None, typer.Option(help="Go back to this generation.", show_default=False, metavar="G")
    ] = None,
    drop_segment: Annotated[
        str | None, typer.Option(help="Give up a segment; its passages are lost.", show_default=False, metavar="S")
    ] = None,
    reencode: Annotated[
        str | None, typer.Option(help="Encode a segment anew from its texts.", show_default=False, metavar="S")
    ] = None,
    forget_sources: Annotated[
        bool,
        typer.Option(
            "--forget-sources",
            help="Forget which files the documents were read from: the next [bold]xtrkit sync[/] reads all of them.",
        ),
    ] = False,
    words: Annotated[
        bool,
        typer.Option(
            "--words", help="Find the words of all passages anew, in their texts: for searches with --fusion."
        ),
    ] = False,
    as_json: Json = False,
    model: Model = None,
) -> None:
    """Mend a damaged index in one of five ways; each makes a new generation.

    [bold]xtrkit verify[/] names the command that fits. Encoding anew loses nothing, nor does finding words anew or
    forgetting the sources; going back loses what was changed since, and dropping a segment the passages in it.

    Example: [bold]xtrkit repair idx --rollback 41[/]
    """
    if sum(choice is not None for choice in (rollback, drop_segment, reencode)) + forget_sources + words != 1:
        raise InputError(
            "Choose one way: --rollback GENERATION, --drop-segment SEGMENT, --reencode SEGMENT, --words or "
            "--forget-sources."
        )
    from xtrkit.indexing.repairing import drop_segment as drop
    from xtrkit.indexing.repairing import roll_back_to

    facts: dict[str, Any] = {"index": str(index)}
    if rollback is not None:
        facts["generation"] = roll_back_to(index, rollback)
        text = f"Generation {facts['generation']} holds what generation {rollback} held."
    elif drop_segment is not None:
        facts["generation"], facts["lost"], facts["n_lost"] = drop(index, drop_segment)
        names = " ".join(facts["lost"]) or "their ids can't be read"
        more = f" and {facts['n_lost'] - len(facts['lost']):,} more" if facts["lost"] else ""
        text = (
            f"Generation {facts['generation']} is without {drop_segment}. "
            f"Lost: {facts['n_lost']:,} passages: {names}{more if facts['n_lost'] > len(facts['lost']) else ''}"
        )
    elif words:
        from xtrkit.indexing.repairing import rebuild_words

        facts["generation"] = rebuild_words(index)
        text = f"Generation {facts['generation']} has the words of all passages, found in their texts."
    elif forget_sources:
        from xtrkit.indexing.repairing import forget_sources as forget

        facts["generation"] = forget(index)
        text = f"Generation {facts['generation']} has forgotten its sources: the next sync reads all files."
    else:
        facts["generation"], facts["encoded"] = _reencode(index, str(reencode), model, as_json)
        text = f"Generation {facts['generation']} has {facts['encoded']:,} passages encoded anew."
    _print(facts, text, as_json)


def backup(
    index: IndexPath,
    target: Annotated[Path, typer.Argument(help="A directory to make.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Copy the newest generation of an index while others search or change it; the copy is an index of its own."""
    from xtrkit.index import Index

    with Index.open(index) as opened:
        facts = {"index": str(index), "copy": str(target), "generation": opened.backup(target)}
    _print(facts, f"Copied generation {facts['generation']} to {target}.", as_json)


def vectors(
    index: IndexPath,
    target: Annotated[Path, typer.Argument(help="A .safetensors or .npy file to make.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Write the token vectors of an index to a file, for other programs, with the ids and lengths beside them.

    NAME.safetensors holds "vectors" (M, d) and "lengths" (N,), NAME.npy the vectors and NAME.lengths.npy the lengths;
    NAME.ids.txt has one id a line. Compressed vectors are decompressed.
    """
    from xtrkit.index import Index

    with Index.open(index) as opened:
        documents, tokens = opened.export_vectors(target)
    facts = {"index": str(index), "documents": documents, "tokens": tokens, "file": str(target)}
    _print(facts, f"Wrote {tokens:,} vectors of {documents:,} documents.", as_json)


def parsed_filter(text: str | None) -> dict[str, Any] | None:
    """A condition that was given as JSON, checked before anything is loaded.

    Raises:
        InputError: it is none.
    """
    if text is None:
        return None
    from xtrkit.indexing.filters import compiled

    try:
        where = json.loads(text, object_pairs_hook=_without_doubles)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f'--where must be JSON such as {{"year": {{"$gte": 2020}}}}, got {text!r}.') from error
    compiled(where)
    return dict(where)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, of which the last of two equal names would count alone."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f'--where names {name!r} twice: write {{"{name}": {{"$gte": 1, "$lt": 9}}}}, or a list for "$and".'
            )
    return dict(pairs)


def register(app: typer.Typer) -> None:
    """Give an application these commands."""
    for command in (add, sync, delete, compact, verify, repair, backup, vectors):
        app.command()(command)


def _reencode(index: Path, segment: str, model: str | None, as_json: bool) -> tuple[int, int]:
    from xtrkit.encoding.load import load_encoder_of
    from xtrkit.indexing.repairing import encoder_of
    from xtrkit.texts.updating import reencode

    return reencode(index, segment, load_encoder_of(encoder_of(index), model), progress=not as_json)


def _print(facts: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        print_text(text)


def _lines(path: Path) -> list[str]:
    from xtrkit.texts.reading import read_lines

    if str(path) == "-":
        return [line for line in sys.stdin.read().split("\n") if line.strip()]
    return [line for _, line in read_lines(path)]


def _tell(summary: Any, begin: float, as_json: bool, what: str) -> None:
    seconds = time.perf_counter() - begin
    if as_json:
        print_json({**summary.as_json(), "seconds": seconds})
        return
    out.print(
        f"{what} in {seconds:.1f} s: generation {summary.generation} has {summary.documents:,} passages "
        f"in {summary.segments} segment{'s' if summary.segments > 1 else ''}."
    )
    if summary.advice:
        out.print(summary.advice)
