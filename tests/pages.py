"""What the documents show as code: finding it, and running it as a reader would."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.commands import in_text
from tests.conftest import ROOT

FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        page: the page, from the repository's root on.
        line: where its code begins.
        language: what the fence says.
        code: what is in it.
    """

    page: str
    line: int
    language: str
    code: str

    @property
    def first(self):
        """The first line, which names the block."""
        return self.code.partition("\n")[0]


def blocks(page):
    """The fenced blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(page, text[: one.start(2)].count("\n") + 1, one[1].strip(), one[2]) for one in FENCE.finditer(text)]


def pages():
    """All documents, from the repository's root on."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def commands(code):
    """The commands of a shell block: lines that end in a backslash joined, chains taken apart, comments left out."""
    lines = re.sub(r"\\\n\s*", "", code).splitlines()
    parts = (re.split(r"\s&&\s", line) for line in lines)
    return [shlex.split(part, comments=True) for line in parts for part in line if shlex.split(part, comments=True)]


def run_shell(block):
    """Run the commands of a block in the current directory, ``xtrkit`` in this process; what they print.

    Installing is passed over, and an index that an earlier block of the page left in the way is removed.
    """
    said = []
    for words in commands(block.code):
        if words[:2] == ["pip", "install"]:
            continue
        if words[:2] == ["xtrkit", "index"]:
            shutil.rmtree(words[3], ignore_errors=True)
        ran = in_text(*words[1:]) if words[0] == "xtrkit" else subprocess.run(words, capture_output=True, text=True)
        assert ran.returncode == 0, f"{block.page}, line {block.line}: {shlex.join(words)}\n{ran.stdout}{ran.stderr}"
        said.append(ran.stdout)
    return "".join(said)


def run_python(block, names):
    """Run a block with some names defined; what it prints, a line for each call."""
    shown = []
    code = compile("\n" * (block.line - 1) + block.code, str(ROOT / block.page), "exec")
    names["print"] = lambda *values, sep=" ", end="\n": shown.append(sep.join(map(str, values)))
    exec(code, names)
    return shown


def options_of(words):
    """The options that a command line names."""
    return [word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)]


def says_what_there_is(words):
    """Whether a command that is not run names a program of this repository, and options that it has."""
    if words[0] == "xtrkit":
        import typer

        from xtrkit.cli.app import app

        command, rest = typer.main.get_command(app), words[1:]
        while hasattr(command, "commands"):
            command, rest = command.commands[rest[0]], rest[1:]
        return set(options_of(words)) <= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    script = next((Path(word) for word in words if word.startswith("benchmarks/")), None)
    if script is None:
        return False
    source = (ROOT / script).read_text(encoding="utf-8")
    return all(f'"{option}"' in source for option in options_of(words))
