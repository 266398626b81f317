"""The command ``run``: answers to queries that nobody judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from xtrkit.cli.asking import TopicField
from xtrkit.cli.bench_output import print_notes
from xtrkit.cli.maintain import parsed_filter
from xtrkit.cli.opening import open_retriever
from xtrkit.cli.options import Address, Fusing, IndexPath, Json, Opening, Reranking, SearchRecipe, Which
from xtrkit.cli.output import print_json
from xtrkit.errors import InputError

out = Console(soft_wrap=True, markup=False)


def run(
    context: typer.Context,
    index: IndexPath,
    queries: Annotated[
        Path,
        typer.Argument(
            help="Queries: lines of id and text apart by a tab, CSV, JSON lines (_id, text), or TREC topics; also .gz.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The file to write, packed if it ends in .gz; /dev/stdout prints it.",
            show_default=False,
        ),
    ],
    scored: SearchRecipe,
    opening: Opening,
    reranking: Reranking,
    which: Which,
    fusing: Fusing,
    k: Annotated[int, typer.Option("-k", "--depth", help="How many documents of each query.")] = 1000,
    layout: Annotated[
        str,
        typer.Option(help="[bold]trec[/], [bold]msmarco[/], [bold]colbert[/] (LoTTE's) or [bold]json[/]."),
    ] = "trec",
    tag: Annotated[str, typer.Option(help="The system's name, TREC's last column.")] = "xtrkit",
    topic_field: TopicField = "title",
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Answer queries that need no judgements, and write the rankings as a run.

    Of passages that were cut out of one document the best counts as the document, unless --all-passages asks for the
    passages. Scores fall strictly, so that whoever sorts them finds the same order.

    Examples: [bold]xtrkit run idx queries.tsv -o run.trec[/]   [bold]xtrkit run idx topics.txt -o run.tsv --layout
    msmarco -k 100 --recipe colbert --threads 2[/]
    """
    recipe = scored.chosen(context)
    from xtrkit.evaluating.running import answer_topics
    from xtrkit.evaluation.notes import counted, notes_as_json
    from xtrkit.evaluation.run_files import check_layout, check_of, write_run
    from xtrkit.evaluation.topics import read_topics
    from xtrkit.fusion import check_fusion
    from xtrkit.progress import progress_bar
    from xtrkit.recipes import check_k, check_threads
    from xtrkit.whole_file import check_targets, is_standard_output

    check_k(k)
    check_fusion(fusing.fusion, fusing.alpha)
    check_threads(opening.threads)
    check_layout(layout)
    check_targets({"--output": output}, [queries])
    printed = is_standard_output(output)
    if printed and as_json:
        raise InputError(f"--json prints where --output {output} does: give the name of a file.")
    check_ids = check_of(layout)
    topics = read_topics(queries, topic_field)
    check_ids([tag, *topics.queries])
    condition = parsed_filter(which.where)
    with (
        open_retriever(index, opening, address, reranking.rerank) as retriever,
        progress_bar("Searching", len(topics.queries), shown=not as_json, unit="queries") as advance,
    ):
        answered = answer_topics(
            retriever,
            topics.queries,
            k,
            passages=which.group_by_document is False,
            advance=advance,
            check_ids=check_ids,
            where=condition,
            recipe=recipe,
            threads=opening.threads,
            rerank_depth=reranking.rerank_depth,
            **vars(fusing),
        )
    write_run(answered.run, output, tag, layout)
    notes = [*topics.notes, *answered.notes]
    if as_json:
        found = sum(map(len, answered.run.values()))
        asked = {"output": str(output), "layout": layout, "tag": tag, "recipe": vars(recipe), "k": k}
        print_json({**asked, "queries": len(topics.queries), "documents": found, "notes": notes_as_json(notes)})
        return
    console = Console(soft_wrap=True, markup=False, stderr=True) if printed else out
    print_notes(console, notes)
    console.print(f"Wrote {output}: {counted(len(topics.queries), 'query')}, at most {k:,} documents each.")
