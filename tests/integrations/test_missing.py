"""Without a framework its module is one sentence, which names the extra."""

import importlib
import sys

import pytest

from xtrkit.errors import MissingExtraError


@pytest.mark.parametrize(
    ("module", "needed", "extra"),
    [
        ("pyterrier", "pyterrier", "pyterrier"),
        ("mteb", "mteb.abstasks.retrieval", "mteb"),
        ("sentence_transformers", "sentence_transformers.base.evaluation", "torch"),
        ("ir_datasets", "ir_datasets.datasets.base", "irds"),
    ],
)
def test_the_extra_is_named(monkeypatch, module, needed, extra):
    monkeypatch.setitem(sys.modules, needed, None)
    monkeypatch.delitem(sys.modules, f"xtrkit.integrations.{module}", raising=False)
    with pytest.raises(MissingExtraError, match=f"needs the extra '{extra}': run pip install"):
        importlib.import_module(f"xtrkit.integrations.{module}")


def test_tensors_need_torch(monkeypatch):
    from xtrkit.compat.pylate import models

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="Tensors of torch needs the extra 'torch'"):
        models.ColBERT().encode("a query", convert_to_tensor=True)
