"""The documentation as a site: ``sphinx-build -W -b html docs OUT``.

The pages are plain Markdown, which a code host shows as it is, with links that work there. For the site three things
are done: the reference is made of the docstrings, a page that stands for a file outside ``docs/`` gets its text
(notebooks with what they showed), and links to such files lead to those pages.
"""

import os
import re
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbformat
from sphinx.application import Sphinx
from sphinx.ext.autodoc import mock
from sphinx.util.inspect import signature, stringify_signature

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "src"))  # what is told is this checkout's, whatever is installed
FRAMEWORKS = [
    *("torch", "transformers", "sentence_transformers", "datasets"),
    *("langchain_core", "llama_index", "haystack", "dspy", "pyterrier", "pandas", "pydantic", "mteb", "ir_datasets"),
]
"""Nothing is told of them, and importing all takes half a minute: the extra "docs" is enough to build the site."""
STANDS_FOR = {
    "readme": ROOT / "README.md",
    "changelog": ROOT / "CHANGELOG.md",
    "contributing": ROOT / "CONTRIBUTING.md",
    **{f"tutorials/{notebook.stem}": notebook for notebook in sorted(ROOT.glob("examples/*.ipynb"))},
}
"""{page: the file outside ``docs/`` whose text it has on the site}."""

project = "xtrkit"
author = "the authors of xtrkit"
project_copyright = author
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "furo"
html_title = f"xtrkit {release}"
exclude_patterns = ["_build"]
myst_heading_anchors = 4
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("FloatArray", "Given", "Metadata", "Subset", "Where")}
autodoc_default_options = {"members": True}
napoleon_use_ivar = True  # attributes stand in their class's text, as the docstrings have them
nitpicky = True  # functions and modules that docstrings refer to are in the reference; types need not be
nitpick_ignore_regex = [("py:class", ".*"), ("py:.*", r"(?!xtrkit\.).*")]
suppress_warnings = ["ref.python"]  # classes of one name in several adapters, in the types of their own methods
copybutton_prompt_text = "$ "


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    mocked = ExitStack()  # during the whole build: Sphinx looks at the modules of base classes, too
    mocked.enter_context(mock(FRAMEWORKS))
    app.connect("build-finished", lambda app, error: mocked.close())
    app.connect("source-read", _on_the_site)
    app.connect("autodoc-skip-member", _is_told_above)
    app.connect("autodoc-process-signature", _as_written)


def _on_the_site(app: Sphinx, page: str, source: list[str]) -> None:
    """What a page says on the site."""
    file = STANDS_FOR.get(page, DOCS / f"{page}.md")
    app.env.note_dependency(file)
    text = _text_of_notebook(file) if file.suffix == ".ipynb" else file.read_text(encoding="utf-8")
    source[0] = _relinked(text, file.parent, (DOCS / page).parent)
    if file.suffix == ".ipynb":
        source[0] += f"\n\n---\n\n[This page as a notebook](path:{os.path.relpath(file, (DOCS / page).parent)})\n"


def _relinked(text: str, of: Path, to: Path) -> str:
    """Text whose links to files were written in one folder, with links for another."""

    def link(found: re.Match[str]) -> str:
        target = (of / found[1]).resolve()
        if not target.exists():
            return found[0]
        page = next((DOCS / f"{name}.md" for name, file in STANDS_FOR.items() if file == target), target)
        there = os.path.relpath(page, to)
        download = page.suffix == ".md" and not page.is_relative_to(DOCS)  # a page of which the site has none
        return f"]({'path:' * download}{there}{found[2] or ''})"

    return re.sub(r"\]\(([^)#:\s]+)(#[^)]*)?\)", link, text)


def _text_of_notebook(file: Path) -> str:
    """A notebook as Markdown, its results below its code."""
    parts = []
    for cell in nbformat.read(file, as_version=4).cells:
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        parts += [_shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts)


def _shown(output: Any) -> str:
    """What a cell showed."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "text/html" in data:
        return f"```{{raw}} html\n{data['text/html']}\n```"
    return f"```text\n{data['text/plain'].rstrip()}\n```"


def _is_told_above(app: Sphinx, of: str, name: str, member: object, skip: bool, options: Any) -> bool | None:
    """Fields of a named tuple stand in its class's text; their own is "Alias for field number 0"."""
    return True if type(member).__name__ == "_tuplegetter" else None


def _as_written(
    app: Sphinx, what: str, name: str, member: Any, options: Any, told: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Signature and result as they are written: names of types alone, also in a union, and of a class its own."""
    if what == "class" and told == "(*args: Any, **kwargs: Any)" and "__init__" in vars(member):
        written = signature(member.__init__, bound_method=True)  # where its base is mocked, as of a function
        told = stringify_signature(written, show_return_annotation=False, unqualified_typehints=True)
    return _by_alias(told), _by_alias(returns)


def _by_alias(told: str | None) -> str | None:
    return told and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", told)
