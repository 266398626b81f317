"""Hidden states of frozen lower layers, computed once for each text and kept on disk as float16.

T5's grow beyond what float16 holds (flan-t5-small's reach 90,000 in a few places): a token of such a size is kept
divided by a power of two, and that power beside it, which loses nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import MultiVectorEncoder
from torch import Tensor

from xtrkit.encoding.modules import quiet
from xtrkit.errors import InputError
from xtrkit.training.inputs import Features, TextInputs
from xtrkit.training.top_layers import LowerLayers

_TOKENS_AT_A_TIME, _TOKENS_ON_A_DEVICE = 4096, 1 << 16
_LARGEST = 15  # a float16 below 2**15 is far from overflowing


class CachedInputs:
    """Texts as the hidden states that enter the upper layers, read from disk.

    Made with :meth:`open`, which computes what is not there yet. A text costs ``2 · width + 16`` bytes a token: 784
    bytes of MiniLM's.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self._offsets: npt.NDArray[np.int64] = np.load(folder / "offsets.npy")
        total = int(self._offsets[-1])
        self._states = np.memmap(folder / "states.f16", np.float16, "r", shape=(total, width))
        self._ids = np.memmap(folder / "tokens.i32", np.int32, "r", shape=(total, 4))

    @classmethod
    def open(
        cls,
        folder: Path,
        model: MultiVectorEncoder,
        top_layers: int,
        task: str,
        texts: Sequence[str],
        advance: Callable[[int], None] = lambda amount: None,
        bf16: bool = False,
    ) -> CachedInputs:
        """The activations of some texts below the ``top_layers`` upper layers of a model.

        Args:
            folder: where activations are kept; of each model, depth and collection apart.
            model: the model to train; its lower layers must not have learnt anything yet.
            top_layers: how many layers will learn.
            task: "query" or "document".
            texts: the texts.
            advance: called with how many texts were done.
            bf16: compute in bfloat16; what is kept is float16 either way.

        Raises:
            InputError: there is no space on the disk, or a number is not finite.
        """
        inputs, lower = TextInputs(model, texts), LowerLayers(model, top_layers)
        width = int(model[0].get_embedding_dimension())
        place = folder / _name(model, top_layers, task, texts, bf16)
        if not (place / "offsets.npy").is_file():
            partial = place.with_name(place.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _write(partial, inputs, lower, task, width, advance, bf16)
            partial.rename(place)
        else:
            advance(len(texts))
        return cls(place, width)

    def features(self, task: str, numbers: Sequence[int]) -> Features:
        """A batch for :class:`~xtrkit.training.top_layers.UpperLayers`: padded, with masks."""
        spans = [slice(int(self._offsets[n]), int(self._offsets[n + 1])) for n in numbers]
        longest = max(span.stop - span.start for span in spans)
        states = np.zeros((len(spans), longest, self._states.shape[1]), dtype=np.float32)
        ids = np.zeros((len(spans), longest, 4), dtype=np.int64)
        for row, span in enumerate(spans):
            states[row, : span.stop - span.start] = self._states[span]
            ids[row, : span.stop - span.start] = self._ids[span]
        if ids[:, :, 3].any():
            states = np.ldexp(states, ids[:, :, 3:].astype(np.int32))
        features: Features = {
            "hidden_states": torch.from_numpy(states),
            "input_ids": torch.from_numpy(ids[:, :, 0].copy()),
            "attention_mask": torch.from_numpy((ids[:, :, 1] == 1).astype(np.int64)),
        }
        if (ids[:, :, 2] == 1).any():
            features["query_expansion_positions"] = torch.from_numpy((ids[:, :, 2] == 1).astype(np.int64))
        return features


def _name(model: MultiVectorEncoder, top_layers: int, task: str, texts: Sequence[str], bf16: bool) -> str:
    """A name for the activations of these texts: another for other lower layers, lengths, markers, texts, precision."""
    transformer = model[0]
    digest = hashlib.sha256()
    settings: Any = [top_layers, task, model.prompts, transformer.query_length, transformer.document_length]
    settings += [transformer.query_expansion, transformer.do_lower_case, bf16, "powers"]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in transformer.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return f"{task}-{digest.hexdigest()[:24]}"


def _write(
    folder: Path,
    inputs: TextInputs,
    lower: LowerLayers,
    task: str,
    width: int,
    advance: Callable[[int], None],
    bf16: bool,
) -> None:
    """Compute and write; texts of like length together, each in its place."""
    lengths = inputs.lengths(task)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total = int(offsets[-1])
    needed = total * (2 * width + 16)
    if (free := shutil.disk_usage(folder).free) < needed + (1 << 28):
        raise InputError(
            f"The activations of {len(lengths):,} texts need {needed / 1e9:.1f} GB, but {folder.parent} has "
            f"{free / 1e9:.1f} GB left: take fewer texts, shorter ones, or another --cache."
        )
    states = np.memmap(folder / "states.f16", np.float16, "w+", shape=(total, width))
    ids = np.memmap(folder / "tokens.i32", np.int32, "w+", shape=(total, 4))
    order, start = np.argsort(-lengths, kind="stable"), 0
    at_a_time = _TOKENS_AT_A_TIME if inputs.device.type == "cpu" else _TOKENS_ON_A_DEVICE
    while start < len(order):
        stop = start + max(1, at_a_time // int(lengths[order[start]]))
        batch = order[start:stop].tolist()
        autocast = torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16)
        with quiet(), torch.inference_mode(), autocast:
            features = inputs.features(task, batch)
            found = lower({key: value.to(inputs.device) for key, value in features.items()}).float().cpu().numpy()
        if not np.isfinite(found[_real(features)]).all():
            raise InputError("An activation is no finite number: train without --top-layers.")
        marks = torch.stack([features["input_ids"], features["attention_mask"], _expansion(features)], dim=2).cpu()
        for row, number in enumerate(batch):
            span, length = slice(offsets[number], offsets[number + 1]), lengths[number]
            powers = _powers(found[row, :length])
            states[span] = np.ldexp(found[row, :length], -powers)
            ids[span, :3], ids[span, 3:] = marks[row, :length].numpy(), powers
        advance(len(batch))
        start = stop
    states.flush()
    ids.flush()
    np.save(folder / "offsets.npy", offsets)


def _powers(states: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """(tokens, 1) the power of two that each token's states are divided by: 0 unless they are large."""
    (_, exponents) = np.frexp(np.abs(states).max(axis=1, keepdims=True))
    powers: npt.NDArray[np.int32] = np.maximum(exponents - _LARGEST, 0).astype(np.int32)
    return powers


def _real(features: Features) -> npt.NDArray[np.bool_]:
    real: npt.NDArray[np.bool_] = (features["attention_mask"].bool() | _expansion(features).bool()).cpu().numpy()
    return real


def _expansion(features: Features) -> Tensor:
    """(texts, tokens) 1 where a [MASK] was added."""
    positions = features.get("query_expansion_positions")
    if positions is None:
        return torch.zeros_like(features["attention_mask"])
    return torch.as_tensor(positions).to(features["attention_mask"])
