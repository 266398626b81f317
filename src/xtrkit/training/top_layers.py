"""An encoder cut in two: frozen lower layers, whose activations can be kept, and upper layers that learn from them.

Both halves are *views* of the model: containers of their own around the same layers, so that training the upper half
trains the model, and saving the model saves what was learnt.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules.dense import Dense
from torch import Tensor, nn

from xtrkit.errors import ModelError
from xtrkit.training.inputs import Features


def freeze_below(model: MultiVectorEncoder, top_layers: int) -> None:
    """Leave only the upper layers, what comes after them, and the projection to be learnt.

    Raises:
        ModelError: the encoder has no such layers, or fewer of them.
    """
    layers = _layers(model)
    _check_depth(layers, top_layers)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    learning: list[nn.Module] = [*layers[len(layers) - top_layers :]]
    learning += [module for module in model if isinstance(module, Dense)]
    if _is_t5(model):
        learning.append(_backbone(model).encoder.final_layer_norm)
    for module in learning:
        for parameter in module.parameters():
            parameter.requires_grad_(True)


def learns_every_layer(model: MultiVectorEncoder, top_layers: int) -> bool:
    """Whether so many upper layers are all that there are, so that embeddings alone are frozen."""
    return top_layers == len(_layers(model))


class LowerLayers(nn.Module):
    """Features -> the (texts, tokens, width) hidden states that enter the upper layers."""

    def __init__(self, model: MultiVectorEncoder, top_layers: int) -> None:
        super().__init__()
        layers = _layers(model)
        _check_depth(layers, top_layers)
        self._end = _End(_is_t5(model))
        self._view = _view(model, [*layers[: len(layers) - top_layers], self._end])[0]

    def forward(self, features: Features) -> Tensor:
        """The hidden states of a batch; padding has some, too."""
        self._view(dict(features))
        return self._end.states


class UpperLayers(nn.Module):
    """Features with ``hidden_states`` in them -> what the whole model would make: token embeddings and their mask."""

    def __init__(self, model: MultiVectorEncoder, top_layers: int) -> None:
        super().__init__()
        layers = _layers(model)
        _check_depth(layers, top_layers)
        bias = layers[0].layer[0].SelfAttention if _is_t5(model) else None
        self._begin = _Begin(bias)
        self._view = _view(model, [self._begin, *layers[len(layers) - top_layers :]])

    def forward(self, features: Features, task: str | None = None) -> Features:
        """Token embeddings of a batch."""
        features = dict(features)
        self._begin.states = features.pop("hidden_states")
        result: Features = self._view(features, task=task)
        return result


class _End(nn.Module):
    """Stands in for the last layer, and keeps what it is given."""

    states: Tensor

    def __init__(self, is_t5: bool) -> None:
        super().__init__()
        self._is_t5 = is_t5

    def forward(self, states: Tensor, *arguments: Any, **options: Any) -> Any:
        self.states = states
        return (states, None, None) if self._is_t5 else states  # T5's blocks hand on their position bias, too


class _Begin(nn.Module):
    """A first layer that gives kept hidden states instead of those that it is given.

    In T5 it also gives the position bias, which only the lowest block knows how to compute.
    """

    states: Tensor

    def __init__(self, t5_attention: Any) -> None:
        super().__init__()
        self._t5_attention = (t5_attention,)  # in a tuple, so that it doesn't become a part of this half

    def forward(self, states: Tensor, *arguments: Any, **options: Any) -> Any:
        kept = self.states.to(states.dtype)
        (attention,) = self._t5_attention
        if attention is None:
            return kept
        with torch.no_grad():
            bias = attention.compute_bias(kept.shape[1], kept.shape[1], device=kept.device)
        return kept, bias, None


def _view(model: MultiVectorEncoder, layers: list[nn.Module]) -> MultiVectorEncoder:
    """A model of the same parts around other layers: containers on the way to them are copies, all else is shared."""
    stack, path = _stack(_backbone(model)), nn.ModuleList(layers)
    backbone = _but(_backbone(model), stack[0], _but(getattr(_backbone(model), stack[0]), stack[1], path))
    view: MultiVectorEncoder = _but(model, "0", _but(model[0], "model", backbone))
    return view


def _but(module: Any, name: str, child: nn.Module) -> Any:
    """A shallow copy of a module with another child."""
    other = copy.copy(module)
    other.__dict__["_modules"] = {**module._modules, name: child}
    return other


def _backbone(model: MultiVectorEncoder) -> Any:
    return model[0].model


def _is_t5(model: MultiVectorEncoder) -> bool:
    return _stack(_backbone(model))[1] == "block"


def _stack(backbone: Any) -> tuple[str, str]:
    """The names on the way from an encoder to the list of its layers."""
    for names in (("encoder", "layer"), ("encoder", "block")):
        if hasattr(getattr(backbone, names[0], None), names[1]):
            return names
    raise ModelError(
        f"Top layers can be trained alone in BERT and its kin and in T5, not in {type(backbone).__name__}: train all "
        "layers, --top-layers 0."
    )


def _layers(model: MultiVectorEncoder) -> Any:
    outer, inner = _stack(_backbone(model))
    return getattr(getattr(_backbone(model), outer), inner)


def _check_depth(layers: Any, top_layers: int) -> None:
    if not 0 < top_layers <= len(layers):
        raise ModelError(
            f"The encoder has {len(layers)} layers, so --top-layers must be 1 to {len(layers)}, got {top_layers}."
        )
