"""The commands on encoders: ``export`` and ``models``; ``app.py`` hangs them into ``xtrkit``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from xtrkit.cli.output import print_json

out = Console(soft_wrap=True, markup=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def export(
    model: Annotated[
        str,
        typer.Argument(help="Directory or hub name of a model, or [bold]all-MiniLM-L6-v2[/].", show_default=False),
    ],
    directory: Annotated[Path, typer.Argument(metavar="OUT", help="Directory to make.", show_default=False)],
    runtime: Annotated[
        str,
        typer.Option(
            help="[bold]onnx[/] needs nothing but xtrkit to run; [bold]openvino[/] encodes collections faster on many "
            "CPUs, and needs its extra."
        ),
    ] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Store and compute in 8 bits: about a quarter of the size, and faster.")
    ] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16 where the CPU can (openvino).")] = False,
    query_length: Annotated[
        int | None, typer.Option(help="Most tokens of a query; by default the model's own.", show_default=False)
    ] = None,
    document_length: Annotated[
        int | None, typer.Option(help="Most tokens of a document; by default the model's own.", show_default=False)
    ] = None,
    nprobe: Annotated[
        int | None,
        typer.Option(
            help="Clusters that XTR shall open for a query token in compressed indexes of this model, as xtrkit sweep "
            "found; by default 32.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a model, so that indexing and searching with it need no torch.

    The export is compared with torch on texts of many kinds, token by token. If any vector differs by more than
    rounding explains, the export fails and nothing is written.

    Examples: [bold]xtrkit export path/to/xtr-base-en xtr-int8 --int8[/], then [bold]xtrkit index notes/ idx --model
    xtr-int8[/]
    """
    from xtrkit.encoding.export import export as export_model
    from xtrkit.errors import InputError
    from xtrkit.reranking.export import is_monot5

    if int8 and bf16:
        raise InputError("--int8 and --bf16 exclude each other: choose one.")
    precision = "int8" if int8 else "bf16" if bf16 else "fp32"
    if is_monot5(model):
        if runtime != "onnx" or any(given is not None for given in (query_length, document_length, nprobe)):
            raise InputError(
                f"{model} is a monoT5: it is exported to onnx, and query and document share --max-length when it is "
                "loaded: leave out --runtime, --query-length, --document-length and --nprobe."
            )
        _export_reranker(model, directory, precision, as_json)
        return
    done = export_model(
        model,
        directory,
        runtime=runtime,
        precision=precision,
        query_length=query_length,
        document_length=document_length,
        nprobe=nprobe,
    )
    if as_json:
        print_json({**vars(done), "path": str(done.path), "runtime": runtime, "precision": precision})
        return
    out.print(
        f"Exported {model} to {directory} ({runtime}, {precision}, {done.size / 1e6:.0f} MB). On {done.tokens:,} "
        f"tokens the lowest cosine to torch is {done.lowest_cosine:.4f}. Use it: xtrkit index … --model "
        f"{shlex.quote(str(directory))}"
    )


def _export_reranker(model: str, directory: Path, precision: str, as_json: bool) -> None:
    from xtrkit.reranking.export import export_reranker

    done = export_reranker(model, directory, precision=precision)
    if as_json:
        print_json({**vars(done), "path": str(done.path), "runtime": "onnx", "precision": precision})
        return
    out.print(
        f"Exported {model} to {directory} (onnx, {precision}, {done.size / 1e6:.0f} MB). On {done.pairs} pairs its "
        f"log-odds are at most {done.largest_error:.3f} standard deviations from torch's. Rerank with it: xtrkit "
        f"search INDEX QUERY --rerank {shlex.quote(str(directory))}"
    )


def models(as_json: Json = False) -> None:
    """List the encoders that are known or on this machine: size, licence, languages, and how to get them.

    Any directory in one of the known layouts works as well: pass it with --model. Licences are as the models' authors
    state them.

    Offline: fetch a model where there is a network (hf download NAME --local-dir DIRECTORY), copy the directory, and
    pass it with --model.
    """
    from xtrkit.encoding import registry

    known = registry.models()
    if as_json:
        rows = [
            {**vars(model), "path": str(model.path) if model.path else None, "usable": registry.usable_now(model)}
            for model in known
        ]
        print_json(rows)
        return
    for model in known:
        size = "" if model.megabytes is None else f"{model.megabytes:,} MB, "
        out.print(f"{model.name}: {model.state}, {size}{model.licence}, {model.languages}")
        out.print(f"    {model.about}" + ("" if model.path else f" ({model.get})"))
