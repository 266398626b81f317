"""What a file is: by its name, and where that says nothing, by how it begins."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from xtrkit.texts.files.opening import BEGINNING, BYTE_ORDER_MARKS, MAGIC, beginning

TEXT, MARKDOWN, RST, SOURCE = "text", "Markdown", "reStructuredText", "source code"
HTML, PDF, DOCX = "HTML", "PDF", "DOCX"
CSV, TSV, JSON_LINES, JSON, PARQUET, ARROW = "CSV", "TSV", "JSON lines", "JSON", "Parquet", "Arrow"

_SUFFIXES = {
    TEXT: "txt text log",
    MARKDOWN: "md markdown mdown mkd",
    RST: "rst",
    HTML: "html htm xhtml",
    PDF: "pdf",
    DOCX: "docx",
    CSV: "csv",
    TSV: "tsv tab",
    JSON_LINES: "jsonl ndjson",
    JSON: "json",
    PARQUET: "parquet pq",
    ARROW: "arrow feather",
    SOURCE: "py pyi js mjs cjs ts jsx tsx java kt scala groovy c h cc cpp cxx hpp hh cs fs go rs rb php pl pm r jl lua "
    "swift m mm sh bash zsh fish ps1 bat sql toml yaml yml cfg ini conf properties xml xsd xsl tex bib css scss less "
    "vue svelte ex exs erl hs ml mli clj lisp el vim cmake gradle proto graphql tf asm f90 f pas d zig nim dart",
}
KINDS = {f".{suffix}": kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}

NO_READER = frozenset(
    [
        ".svg",
        ".rtf",
        ".ps",
        ".eps",
        ".ipynb",
        ".geojson",
        ".jsonld",
        ".mht",
        ".mhtml",
        ".eml",
        ".mbox",
        ".warc",
        ".map",
        ".pem",
        ".key",
        ".crt",
        ".xlsx",
        ".xls",
        ".ods",
        ".pptx",
        ".ppt",
        ".odp",
        ".odt",
        ".doc",
        ".docm",
        ".epub",
        ".zip",
        ".tar",
        ".tgz",
        ".7z",
        ".bz2",
        ".xz",
        ".zst",
        ".rar",
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".webp",
        ".mp3",
        ".mp4",
        ".wav",
        ".npy",
        ".npz",
        ".pt",
        ".bin",
        ".pkl",
        ".pickle",
        ".sqlite",
        ".db",
        ".ico",
        ".woff",
        ".woff2",
        ".ttf",
        ".pyc",
        ".so",
        ".dll",
        ".exe",
        ".jar",
        ".class",
        ".o",
        ".a",
        ".safetensors",
        ".onnx",
        ".gguf",
        ".avro",
        ".orc",
        ".h5",
        ".fb2",
        ".mobi",
    ]
)
"""Suffixes of what is no text, or a text that only programs read; further ones are found by their first bytes."""

NAMED = {
    PDF: ("Reading a PDF", "pdf"),
    HTML: ("Reading HTML", "html"),
    DOCX: ("Reading a DOCX file", "docx"),
    PARQUET: ("Reading Parquet", "parquet"),
    ARROW: ("Reading Arrow files", "parquet"),
}
"""What needs which extra."""

READERS = (
    "texts (.txt, .md, .rst, source code), .html, .pdf, .docx, .csv, .tsv, .jsonl, .json or .parquet, each of them "
    "also with .gz, a folder of them, or a BEIR folder (with corpus.jsonl)"
)

_CONTROLS = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")


def suffix_of(name: str) -> str:
    """The suffix of a file's name in small letters, without that of gzip: ".csv" of "a.CSV.gz"."""
    path = PurePosixPath(name.lower())
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix


def kind_of(name: str, path: Path) -> tuple[str, str]:
    """What a file is read as, or why it is passed over: (kind, "") or ("", reason).

    Raises:
        OSError: it can't be opened to look.
    """
    suffix = suffix_of(name)
    if suffix in KINDS:
        return KINDS[suffix], ""
    if suffix in NO_READER or suffix_of(name.lower().removesuffix(".gz").removesuffix(suffix)) == ".tar":
        return "", f"no reader for {suffix}"
    if _is_text(beginning(path)):
        return TEXT, ""
    return "", f"binary, no reader for {suffix}" if suffix else "binary"


def _is_text(start: bytes) -> bool:
    """Whether a file that begins so is a text, in whatever encoding."""
    if any(start.startswith(mark) for mark, _ in BYTE_ORDER_MARKS):
        return True
    if b"\0" in start or any(start.startswith(magic) for magic, _ in MAGIC):
        return False
    try:
        start.decode()
    except UnicodeDecodeError as error:
        if len(start) == BEGINNING and error.start >= BEGINNING - 3:  # cut within a character
            return True
        return not _CONTROLS.search(start)  # a text in an encoding that is told later
    return True
