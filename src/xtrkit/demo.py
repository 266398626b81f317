"""What ``xtrkit demo`` indexes: the documentation that comes with every Python, one passage for each thing explained.

The passages are the docstrings of the standard library's public modules, classes and functions, read from its source
without importing it, those of the built-in types and functions, and the language reference's topics (what ``help()``
shows), paragraph by paragraph.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import itertools
import math
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from xtrkit.passage import Passage

QUESTIONS = (
    "How do I run a shell command and get its output?",
    "count how often each word occurs in a list",
    "What happens when an exception is raised inside a with statement?",
)

# Tests, and folders that hold other people's packages or only data.
LEFT_OUT = {
    "test",
    "tests",
    "idle_test",
    "site-packages",
    "dist-packages",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "pydoc_data",
}
COMPILED = (builtins, itertools, math, time)
FEWEST_WORDS, MOST_WORDS = 6, 50
"""Shorter passages ("Return self.") tell nothing; of longer ones the beginning tells what they are about."""


def standard_library_passages() -> list[Passage]:
    """Passages about Python and its standard library; of those with the same name or text, the first stays."""
    passages: dict[str, Passage] = {}
    seen: set[str] = set()
    for passage in itertools.chain(_from_source(), _from_compiled(), _from_topics()):
        words = (passage.text or "").split()
        text = " ".join(words[:MOST_WORDS])
        # The topics share paragraphs under other titles: what follows the title tells whether it is the same.
        body = text.partition(": ")[2]
        if len(words) >= FEWEST_WORDS and passage.id not in passages and body not in seen:
            seen.add(body)
            passages[passage.id] = Passage(passage.id, text)
    return list(passages.values())


def _from_source() -> Iterator[Passage]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if LEFT_OUT.intersection(parts) or any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError):
            continue  # a file that this Python can't read documents nothing that it can run
        module = ".".join(part for part in parts if part != "__init__")
        if documentation := ast.get_docstring(tree):
            yield Passage(module, f"{module}: {documentation}")
        yield from _from_definitions(tree, module)


def _from_definitions(scope: ast.AST, name: str) -> Iterator[Passage]:
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        inner = f"{name}.{node.name}"
        if documentation := ast.get_docstring(node):
            signature = "" if isinstance(node, ast.ClassDef) else f"({ast.unparse(node.args)})"
            yield Passage(inner, f"{inner}{signature}: {documentation}")
        if isinstance(node, ast.ClassDef):
            yield from _from_definitions(node, inner)


def _from_compiled() -> Iterator[Passage]:
    for module in COMPILED:
        yield from _from_members(module, "" if module is builtins else f"{module.__name__}.")


def _from_members(owner: ModuleType | type, prefix: str) -> Iterator[Passage]:
    for name, member in vars(owner).items():
        if name.startswith("_") or not (inspect.isroutine(member) or inspect.isclass(member)):
            continue
        if documentation := inspect.getdoc(member):
            yield Passage(prefix + name, f"{prefix}{name}: {documentation}")
        if inspect.isclass(member) and isinstance(owner, ModuleType):
            yield from _from_members(member, f"{prefix}{name}.")


def _from_topics() -> Iterator[Passage]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return  # some distributions package it apart
    for topic, text in topics.items():
        title = text.splitlines()[0] if text else topic
        for number, paragraph in enumerate(text.split("\n\n"), start=1):
            yield Passage(f"help({topic!r})#{number}", f"{title}: {paragraph}")
