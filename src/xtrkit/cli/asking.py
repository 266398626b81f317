"""What is asked, and how it is measured: options that the bench's commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xtrkit.errors import InputError

if TYPE_CHECKING:
    from xtrkit.evaluation.collection import TestCollection

Split = Annotated[
    str | None,
    typer.Option(
        help="Which queries. [dim]\\[default: what published figures are of: test; dev of MS MARCO and MIRACL][/]",
        show_default=False,
    ),
]
Measures = Annotated[
    str | None,
    typer.Option(
        help="As ir-measures names them, and R_cap@100. The largest cut-off is how deep is searched, at least 100; "
        "1,000 for measures without one, such as AP. [dim]\\[default: the collection's own; nDCG@10 R@100 of BEIR][/]",
        show_default=False,
    ),
]
DATASET = (
    "A test collection as published: a BEIR folder (or a folder of such), MS MARCO's files, LoTTE, MIRACL, "
    "questions with answers (NAME.qa.csv), a file of judgements (TREC's qrels) with "
    "--topics, or irds:NAME of ir_datasets."
)
TopicField = Annotated[
    str, typer.Option(help="Of TREC topics, which field is asked: [bold]title[/], [bold]desc[/], [bold]narr[/].")
]


@dataclass(frozen=True)
class Asked:
    """What is asked, and how it is measured."""

    split: Split = None
    topics: Annotated[
        Path | None,
        typer.Option(
            help="Of a file of judgements, the queries: TREC topics, .tsv, .csv, .jsonl; runs alone need none.",
            show_default=False,
        ),
    ] = None
    topic_field: TopicField = "title"
    measures: Measures = None

    @property
    def files(self) -> list[Path]:
        """Files that are read besides."""
        return [] if self.topics is None else [self.topics]

    def tests(self, dataset: Path) -> list[TestCollection]:
        """The test collections at a path.

        Raises:
            InputError: an index is there.
            CollectionError: something else is there, or nothing.
        """
        from xtrkit.evaluating.bench import is_index
        from xtrkit.evaluation.opening import open_tests

        if dataset.is_dir() and is_index(dataset):
            raise InputError(f"{dataset} is an index: a test collection is expected behind it (INDEX DATASET).")
        return open_tests(dataset, self.split, topics=self.topics, field=self.topic_field)

    def names(self) -> list[str] | None:
        """Names of measures, if some were asked for.

        Raises:
            InputError: one isn't known, or there is none.
        """
        from xtrkit.evaluation.measures import parse_measures

        return None if self.measures is None else parse_measures(self.measures)
