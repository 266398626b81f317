"""Halves of a model make a whole; what is kept on disk serves as what was computed; the lower half never changes."""

import numpy as np
import pytest
import torch

from tests.training.conftest import sentence
from xtrkit.encoding import load_encoder
from xtrkit.errors import InputError, ModelError
from xtrkit.training.activations import CachedInputs
from xtrkit.training.inputs import TextInputs
from xtrkit.training.objectives import LateInteractionLoss
from xtrkit.training.recipes import XTR_TRAINING
from xtrkit.training.top_layers import LowerLayers, UpperLayers, freeze_below

TEXTS = [sentence(i, 2 + i) for i in range(6)] + ["!?"]


@pytest.fixture(params=["xtr", "stanford", "native", "all-MiniLM-L6-v2"])
def model(request, checkpoints):
    where = checkpoints.get(request.param, request.param)
    return load_encoder(where).model


@pytest.mark.parametrize("task", ["query", "document"])
@pytest.mark.parametrize("top_layers", [1, 2])
def test_the_halves_make_the_whole(model, task, top_layers):
    features = TextInputs(model, TEXTS).features(task, range(len(TEXTS)))
    with torch.no_grad():
        whole = model(dict(features), task=task)
        states = LowerLayers(model, top_layers)(features)
        halves = UpperLayers(model, top_layers)({**features, "hidden_states": states}, task=task)
    assert torch.equal(halves["attention_mask"], whole["attention_mask"])
    torch.testing.assert_close(halves["token_embeddings"], whole["token_embeddings"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("task", ["query", "document"])
def test_kept_activations_serve_as_well(model, task, tmp_path):
    kept = CachedInputs.open(tmp_path, model, 1, task, TEXTS)
    numbers = [5, 0, 3, 6]
    features = TextInputs(model, TEXTS).features(task, numbers)
    with torch.no_grad():
        whole = model(dict(features), task=task)
        halves = UpperLayers(model, 1)(kept.features(task, numbers), task=task)
    mask = whole["attention_mask"].bool()
    width = halves["attention_mask"].shape[1]
    assert torch.equal(halves["attention_mask"].bool(), mask[:, :width])
    expected, got = whole["token_embeddings"][mask], halves["token_embeddings"][halves["attention_mask"].bool()]
    torch.testing.assert_close(got, expected, atol=5e-3, rtol=5e-3)


def test_activations_in_bfloat16_are_kept_apart_and_nearly_the_same(model, tmp_path):
    precise, rough = (CachedInputs.open(tmp_path, model, 1, "query", TEXTS, bf16=bf16) for bf16 in (False, True))
    assert len(list(tmp_path.iterdir())) == 2
    expected, got = (kept.features("query", range(len(TEXTS))) for kept in (precise, rough))
    assert torch.equal(got["attention_mask"], expected["attention_mask"])
    expected, got = expected["hidden_states"], got["hidden_states"]
    assert not torch.equal(got, expected)
    assert (got - expected).norm() < 0.03 * expected.norm()


def test_activations_are_computed_once(model, tmp_path):
    done = []
    CachedInputs.open(tmp_path, model, 1, "document", TEXTS, done.append)
    (folder,) = tmp_path.iterdir()
    written = (folder / "states.f16").stat().st_mtime_ns
    CachedInputs.open(tmp_path, model, 1, "document", TEXTS, done.append)
    assert (folder / "states.f16").stat().st_mtime_ns == written
    assert sum(done) == 2 * len(TEXTS)
    CachedInputs.open(tmp_path, model, 1, "document", [*TEXTS, "more"])
    CachedInputs.open(tmp_path, model, 2, "document", TEXTS)
    next(model[0].parameters()).data += 1
    CachedInputs.open(tmp_path, model, 1, "document", TEXTS)
    assert len(list(tmp_path.iterdir())) == 4


def test_only_the_top_learns(model, tmp_path):
    """The lower half stays the same to the last bit, and the saved model has what the upper half learnt."""
    freeze_below(model, 1)
    upper = UpperLayers(model, 1)
    inputs = [CachedInputs.open(tmp_path, model, 1, task, TEXTS) for task in ("query", "document")]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    loss = LateInteractionLoss(upper, XTR_TRAINING.but(k_train=9))
    for _ in range(2):
        optimizer.zero_grad()
        loss([inputs[0].features("query", [0, 1]), inputs[1].features("document", [2, 3, 4, 5])]).backward()
        optimizer.step()
    after = model.state_dict()
    learnt = {name for name, value in after.items() if not torch.equal(value, before[name])}
    top = max(
        int(part)
        for name in after
        for part in name.split(".")
        if part.isdigit() and (".layer." in name or ".block." in name) and name.startswith("0.")
    )
    stack = ".block." if any(".block." in name for name in after) else ".encoder.layer."
    assert learnt
    for name in learnt:
        is_projection = not name.startswith("0.")
        assert (
            is_projection or name.split(stack)[-1].startswith(f"{_last(after, stack)}.") or "final_layer_norm" in name
        ), (name, top)
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    if any(not name.startswith("0.") for name in after):  # the default has no projection
        again = load_encoder(tmp_path / "saved").model.state_dict()
        for name, value in after.items():
            assert torch.equal(again[name], value)


def _last(names, stack):
    return max(int(name.split(stack)[1].split(".")[0]) for name in names if stack in name)


def test_a_depth_that_is_none_is_refused(model):
    with pytest.raises(ModelError, match="so --top-layers must be 1 to"):
        LowerLayers(model, 99)


def test_large_activations_are_kept_with_a_power_of_two(model, tmp_path):
    """As those of real T5s, which float16 does not hold; an exact scaling, so that precision is float16's."""
    with torch.no_grad():
        for name, parameter in model[0].named_parameters():
            if name.endswith(("embed_tokens.weight", "shared.weight", "LayerNorm.weight")):
                parameter.mul_(1e6)
    inputs = TextInputs(model, TEXTS)
    features = inputs.features("document", range(len(TEXTS)))
    with torch.inference_mode():
        expected = LowerLayers(model, 1)({key: value.to(inputs.device) for key, value in features.items()})
    assert expected.abs().max() > 1e5
    kept = CachedInputs.open(tmp_path, model, 1, "document", TEXTS).features("document", range(len(TEXTS)))
    mask = kept["attention_mask"].bool()
    got, expected = kept["hidden_states"][mask], expected[features["attention_mask"].bool()]
    largest = expected.abs().amax(dim=1, keepdim=True)
    assert ((got - expected).abs() / largest).max() < 2**-11


def test_activations_that_are_no_numbers_are_told(model, tmp_path):
    with torch.no_grad():
        for module in model[0].modules():
            if isinstance(module, torch.nn.LayerNorm) or type(module).__name__ == "T5LayerNorm":
                module.weight.fill_(torch.inf)
    with pytest.raises(InputError, match="no finite number"):
        CachedInputs.open(tmp_path, model, 1, "document", TEXTS)
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".partial")]
    assert np.isfinite(TextInputs(model, TEXTS).lengths("document")).all()
