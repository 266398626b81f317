"""docs/models.md names tests: each of them exists."""

import re

from tests.conftest import ROOT
from xtrkit.encoding import treatment
from xtrkit.encoding.checkpoints import LAYOUTS


def test_the_table_of_models_names_tests_that_exist():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    tests = {path.relative_to(ROOT / "tests").as_posix(): path for path in (ROOT / "tests").rglob("*.py")}
    files = re.findall(r"`([\w/]+\.py)(?:::\w+)?`", text)
    functions = re.findall(r"\b(test_\w+)\b(?!\.py)", text)
    assert len(files) > 10
    assert len(functions) > 10
    assert {file for file in files if not file.startswith("src/")} <= set(tests)
    everything = "".join(path.read_text(encoding="utf-8") for path in tests.values())
    for function in functions:
        assert f"def {function}(" in everything, function


def test_the_treatments_are_those_of_the_table_in_their_module():
    rows = {line.split("  ")[0]: line for line in (treatment.__doc__ or "").splitlines()}
    for name, value in (
        ("XTR, mXTR", treatment.XTR),
        ("T5-ColBERT", treatment.T5_COLBERT),
        ("ColXTR", treatment.COLXTR),
    ):
        row = rows[name]
        assert f"{value.query_length}, {value.document_length}" in row
        assert row.endswith(value.reduction)
        assert (value.query_prefix or "none") in row
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) - 1  # PyLate has two marks
