"""The notebooks of ``examples/``: running one, and keeping what it showed.

    python -m tests.notebooks examples/search_your_notes.ipynb

runs it and writes it back with its outputs. What changes from run to run (times, ids of cells) is left out, so that a
notebook's diff is its text, its code, and what came of it.
"""

import os
import sys
from pathlib import Path
from unittest import mock

import nbformat
from nbclient import NotebookClient

SURROUNDINGS = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}
"""One thread, as the matrices are small and threads would wait for one another; progress bars may be plain."""


def executed(path, folder):
    """A notebook as it is after all its cells were run in a folder, with the interpreter that runs this."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=resources, record_timing=False, coalesce_streams=True
    )
    with mock.patch.dict(os.environ, SURROUNDINGS):
        client.execute()
    return plain(notebook)


def plain(notebook):
    """A notebook without what is of one run or one machine alone."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.nbformat_minor = 5
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", nbformat.from_dict({})
    return notebook


def printed(notebook):
    """All that the cells of a notebook printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.text for output in outputs if output.output_type == "stream")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        there = Path(name)
        nbformat.write(executed(there, there.parent), there)
