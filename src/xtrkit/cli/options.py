"""Options that several commands have; those that belong together are dataclasses (:mod:`xtrkit.cli.grouping`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from xtrkit.recipes import Recipe
    from xtrkit.texts.document import Fields

IndexPath = Annotated[Path, typer.Argument(metavar="INDEX", help="Directory of the index.", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option(
        help="Where the index's encoder lies, if it has moved: a directory or a hub name.", show_default=False
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A cluster: search its shards as actors of the Ray at this address; [bold]auto[/] is one that runs on "
        'this machine, [bold]local[/] starts one for as long as it is needed. Needs the extra "ray". '
        "[dim]\\[default: all shards in this process, without Ray][/]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Collection = Annotated[
    str,
    typer.Argument(
        help="A folder, a file or a glob: text, Markdown, HTML, PDF, DOCX, source code, CSV, TSV, JSON, JSON lines, "
        "Parquet, each also .gz; a BEIR folder; or irds:NAME of ir_datasets.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Effort:
    """How thoroughly a search looks."""

    imputation: Annotated[
        str,
        typer.Option(
            help="What a similarity that was not retrieved is worth: [bold]min[/] is the lowest that the query token "
            "did retrieve, [bold]none[/] leaves it out, a number such as [bold]0.2[/] is that constant; also "
            "[bold]found[/], [bold]retrieved[/], [bold]centroid[/] and [bold]t5000[/], which differ on compressed "
            "indexes."
        ),
    ] = "min"
    nprobe: Annotated[
        int | None,
        typer.Option(
            help="Compressed indexes: clusters opened a query token, on average. [dim]\\[default: 32, or what the "
            "index's model asks for][/]",
            show_default=False,
        ),
    ] = None
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Compressed indexes: look at every token, as if --nprobe were the number of clusters."
        ),
    ] = False

    def recipe(self, scoring: str, k_prime: int) -> Recipe:
        """A recipe whose every part was checked, before a model is loaded for it."""
        from xtrkit.recipes import Recipe

        nprobe: int | Literal["all"] | None = "all" if self.exact else self.nprobe
        return Recipe(scoring=scoring, k_prime=k_prime, imputation=self.imputation, nprobe=nprobe)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SearchRecipe(Effort):
    """How a search scores."""

    k_prime: Annotated[
        int,
        typer.Option(help="k', document tokens retrieved for each query token. More finds more, and costs more."),
    ] = 1000
    scoring: Annotated[
        str,
        typer.Option(help="[bold]xtr[/] scores from the retrieved tokens alone, [bold]maxsim[/] is exact ColBERT."),
    ] = "xtr"

    recipe_name: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="How a system of the literature searches: [bold]xtr[/], [bold]colxtr[/], [bold]colbert[/] or "
            "[bold]colbertv2[/]. Options that are given beside it go before what it says. [dim]\\[default: xtr][/]",
            show_default=False,
        ),
    ] = None

    def chosen(self, context: typer.Context) -> Recipe:
        """The named recipe, changed by those options that were given; without a name, what all options say.

        Raises:
            InputError: there is no recipe of that name, or a value can't be used.
        """
        if self.recipe_name is None:
            return self.recipe(self.scoring, self.k_prime)
        from xtrkit.recipes import recipe_named

        given = {
            name: getattr(self, name)
            for name in ("scoring", "k_prime", "imputation", "nprobe")
            if _was_given(context, name)
        }
        return recipe_named(self.recipe_name).but(**{**given, **({"nprobe": "all"} if self.exact else {})})


def _was_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line, whatever its value."""
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


@dataclass(frozen=True)
class Reading:
    """How a collection is read."""

    id_field: Annotated[
        str | None,
        typer.Option(help="Column or JSON field of the id. [dim]\\[default: _id, id, …][/]", show_default=False),
    ] = None
    text_field: Annotated[
        str | None, typer.Option(help="That of the text. [dim]\\[default: text, …][/]", show_default=False)
    ] = None
    title_field: Annotated[
        str | None,
        typer.Option(
            help="That of the title, which is put before the text. [dim]\\[default: title][/]", show_default=False
        ),
    ] = None
    metadata_fields: Annotated[
        str, typer.Option(help="Which others become metadata: a comma list, [bold]all[/] or [bold]none[/].")
    ] = "all"
    encoding: Annotated[str, typer.Option(help="Of text files without a byte order mark.")] = "utf-8"
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out files and records that can't be read, and list them.")
    ] = False
    batch_size: Annotated[int, typer.Option(help="Texts encoded together.", min=1)] = 32

    @property
    def fields(self) -> Fields:
        """Where records keep what."""
        from xtrkit.texts.document import Fields

        names = tuple(name.strip() for name in self.metadata_fields.split(",") if name.strip())
        metadata = {"all": "all", "none": ()}.get(self.metadata_fields, names)
        return Fields(self.id_field, self.text_field, self.title_field, metadata, self.encoding)  # type: ignore[arg-type]

    @property
    def options(self) -> dict[str, Any]:
        """As methods of a retriever take them, beside a source that was opened with the fields."""
        return {"skip_bad": self.skip_bad, "batch_size": self.batch_size}


@dataclass(frozen=True)
class Computing:
    """What texts are encoded on."""

    device: Annotated[
        str | None,
        typer.Option(
            help="Encode on this device of torch's, such as cuda. Queries are still encoded on the CPU where the model "
            "is an export, as the default is. [dim]\\[default: the CPU; for checkpoints what torch finds][/]",
            show_default=False,
        ),
    ] = None
    runtime: Annotated[
        str,
        typer.Option(
            help="What encodes with an exported model: [bold]onnx[/] as it was exported, [bold]onnx-fp32[/] in full "
            "precision, [bold]openvino[/], which is an extra; [bold]auto[/] is what suits this processor."
        ),
    ] = "auto"
    workers: Annotated[
        int, typer.Option(help="Processes that encode and share the cores: for machines with many.", min=1)
    ] = 1

    @property
    def of_encoder(self) -> dict[str, Any]:
        """As ``load_encoder_of`` takes them."""
        return {"device": self.device, "runtime": self.runtime}


@dataclass(frozen=True)
class Loading:
    """How an index is opened."""

    device: Annotated[
        str | None,
        typer.Option(
            help="Compressed indexes: search on this device of torch's, such as cuda. "
            "[dim]\\[default: the CPU, without torch][/]",
            show_default=False,
        ),
    ] = None
    model: Model = None


@dataclass(frozen=True)
class Opening(Loading):
    """How an index is opened and searched."""

    threads: Annotated[
        int | None,
        typer.Option(
            help="Queries that a compressed index answers at a time; pieces of an exact one looked at at a time. The "
            "results are the same. [dim]\\[default: 1; all cores][/]",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class Reranking:
    """Whether the best passages are scored again."""

    rerank: Annotated[
        str | None,
        typer.Option(
            help="Score the best passages again with this model: the directory or hub name of a monoT5, a UR²N or a "
            "cross-encoder.",
            show_default=False,
        ),
    ] = None
    rerank_depth: Annotated[int, typer.Option(help="How many passages the reranker scores; 0 is none.", min=0)] = 100


@dataclass(frozen=True)
class Which:
    """Which passages may be shown."""

    group_by_document: Annotated[
        bool | None,
        typer.Option(
            "--group-by-document/--all-passages",
            help="Of passages cut out of one document, show the best alone, or all that are among the best. "
            "[dim]\\[default: the best alone, unless the index was built with --no-split][/]",
            show_default=False,
        ),
    ] = None
    where: Annotated[
        str | None,
        typer.Option(
            help='Only passages whose metadata meet a condition, as JSON: [bold]{"year": {"$gte": 2020}}[/], '
            'or [bold]{"$document": "report.pdf"}[/]. A field that no passage has is an error.',
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class Fusing:
    """Whether words count beside token vectors."""

    fusion: Annotated[
        str | None,
        typer.Option(
            help="Rank by token vectors and words (BM25) together: [bold]rrf[/] adds reciprocal ranks, "
            "[bold]relative[/] normalised scores. [dim]\\[default: token vectors alone][/]",
            show_default=False,
        ),
    ] = None
    alpha: Annotated[
        float | None,
        typer.Option(
            help="With --fusion: the share of the token vectors, 0 to 1. [dim]\\[default: 0.75][/]", show_default=False
        ),
    ] = None


@dataclass(frozen=True)
class Shown:
    """What is shown of a search."""

    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show for each query token which document token it matched, and what was imputed."
        ),
    ] = False
    facets: Annotated[
        list[str] | None,
        typer.Option(
            help="Count the values of this metadata field over the hits; may be given several times.",
            show_default=False,
        ),
    ] = None
    html: Annotated[
        Path | None,
        typer.Option(
            help="Also write the answer, explained, as one HTML file that needs nothing else.", show_default=False
        ),
    ] = None
    timings: Annotated[bool, typer.Option("--timings", help="Show what each stage of the search took.")] = False
    as_json: Json = False


@dataclass(frozen=True)
class Compression:
    """How vectors are kept."""

    nbits: Annotated[
        int,
        typer.Option(
            help="1, 2, 4 or 8 compress vectors to so many bits a dimension; 16 keeps every vector as float16 and "
            "searches exactly, some fifty times slower."
        ),
    ] = 4
    codec: Annotated[
        str,
        typer.Option(help="How vectors are compressed: [bold]grid[/], or [bold]buckets[/] as ColBERTv2 and PLAID do."),
    ] = "grid"


@dataclass(frozen=True)
class Shrinking(Compression):
    """How vectors are kept, and how many."""

    pool_factor: Annotated[
        int,
        typer.Option(
            help="Keep one vector for so many tokens of a passage, the mean of some that are alike: 2 halves the "
            "index. 1 keeps all."
        ),
    ] = 1
    dim: Annotated[
        int | None,
        typer.Option(
            help="Keep so many dimensions of the vectors, a multiple of 8: the directions in which those of this "
            "collection are longest. [dim]\\[default: all][/]",
            show_default=False,
        ),
    ] = None
