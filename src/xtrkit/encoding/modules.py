"""Checkpoint -> torch modules: a sentence-transformers ``MultiVectorEncoder`` in which nothing is random.

sentence-transformers adds a randomly initialised projection where it finds none (and it looks for none in ``2_Dense``,
where google/xtr-base-en has its own); transformers does the same with missing weights. Here both are errors.
"""

from __future__ import annotations

import logging
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling, MultiVectorMask
from transformers.utils import logging as transformers_logging

from xtrkit.encoding.checkpoints import (
    NATIVE,
    STANFORD,
    UNPROJECTED,
    XTR,
    Layout,
    dense_folders,
    read_object,
    weights_file,
)
from xtrkit.errors import ModelError, XtrkitError

# Most tokens of a query and of a document in Lee et al. 2023, and in the released notebook.
_XTR_LENGTH = 512
_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_FULL_PRECISION = {**_LOCAL, "dtype": torch.float32}
# Of three libraries, and of corrupt files.
_LOADING_ERRORS = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, ImportError, SafetensorError
)  # fmt: skip


def build_model(directory: Path, layout: Layout, device: str | None) -> MultiVectorEncoder:
    """The model of a checkpoint: in full precision, ready to encode, with every weight read from a file.

    Raises:
        ModelError: something is missing or of the wrong shape; the message names the file.
    """
    try:
        with quiet():
            model = _BUILDERS.get(layout, _from_modules_json)(directory, device)
            _check_parts(directory, model)
            _check_encoder_weights(directory, model[0])
    except XtrkitError:
        raise
    except pickle.UnpicklingError as error:
        raise _refused(directory / "pytorch_model.bin") from error
    except _LOADING_ERRORS as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
        raise ModelError(
            f"{directory} (layout {layout.name}) can't be loaded ({type(error).__name__}: {reason}): fetch the "
            "checkpoint again."
        ) from error
    # sentence-transformers trusts tokenizer.json to remember the lower-casing, but a T5 tokenizer rebuilds its
    # normalizer when it is loaded: write the flag into the module's own configuration, so that a saved copy keeps it.
    if model[0].do_lower_case:
        model[0].config_keys = [*model[0].config_keys, "do_lower_case"]
    return model.float().eval()


_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and warnings of transformers and sentence-transformers while the block runs.

    One thread at a time: two at once would take each other's silence for what is to be restored, and each other's
    truncation for their own, as a tokenizer keeps its settings between two steps of a call.
    """
    with _ONE_AT_A_TIME:
        yield from _silenced()


def _silenced() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    levels = [logger.level for logger in loggers]
    bars = transformers_logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _from_xtr(directory: Path, device: str | None) -> MultiVectorEncoder:
    """T5 encoder, ``2_Dense``, L2 normalisation; lower case, ``</s>`` kept, no marker, no [MASK] (Lee et al. 2023)."""
    weights_file(directory, "the T5 encoder")
    has_pieces = (directory / "spiece.model").is_file() and find_spec("sentencepiece") is not None
    if not has_pieces and not (directory / "tokenizer.json").is_file():
        raise ModelError(
            f"{directory / 'tokenizer.json'} is missing: fetch the checkpoint again, or read its spiece.model instead "
            "after pip install sentencepiece."
        )
    projection = _read_xtr_projection(directory, _width(directory, "d_model"))
    transformer = Transformer(
        str(directory),
        model_kwargs=dict(_FULL_PRECISION),
        processor_kwargs=dict(_LOCAL),
        config_kwargs=dict(_LOCAL),
        query_length=_XTR_LENGTH,
        document_length=_XTR_LENGTH,
        do_lower_case=True,
    )
    modules = [transformer, projection, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device=device)


def _read_xtr_projection(directory: Path, width: int) -> Dense:
    # Converted copies number their folders without the pooling, hence 1_Dense.
    folder = next((directory / name for name in ("2_Dense", "1_Dense") if (directory / name).is_dir()), None)
    if folder is None:
        raise ModelError(
            f"{directory / '2_Dense'} is missing: it should hold XTR's projection of {width}-dimensional token "
            "embeddings (linear.weight). Fetch the checkpoint again, with all its folders; a plain T5 has no "
            "projection, and a random one would give meaningless rankings."
        )
    config = read_object(folder / "config.json")
    activation = str(config.get("activation_function", "Identity"))
    if config.get("bias") or not activation.endswith("Identity"):
        raise ModelError(
            f"{folder / 'config.json'} describes a projection with a bias or an activation ({activation}): XTR's is "
            "linear without a bias. Save the model as a MultiVectorEncoder of sentence-transformers instead."
        )
    weight = _read_projection_weight(folder, width)
    return Dense(
        in_features=weight.shape[1],
        out_features=weight.shape[0],
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=weight,
        module_input_name="token_embeddings",
    )


def _from_stanford(directory: Path, device: str | None) -> MultiVectorEncoder:
    """``HF_ColBERT``: the projection is ``linear.weight`` among the encoder's weights (Santhanam et al. 2022)."""
    _read_projection_weight(directory, _width(directory, "hidden_size"))
    return MultiVectorEncoder(str(directory), device=device, model_kwargs=dict(_FULL_PRECISION), **_LOCAL)


def _from_modules_json(directory: Path, device: str | None) -> MultiVectorEncoder:
    """What sentence-transformers or PyLate saved: ``modules.json`` lists the parts."""
    folders = dense_folders(directory)
    # A native model without a projection was saved so on purpose; a PyLate model always has one.
    if not folders and not NATIVE.holds(directory):
        raise ModelError(
            f"{directory / 'modules.json'} lists no Dense module: the projection of the token embeddings is missing, "
            "and a random one would give meaningless rankings. Fetch the checkpoint again."
        )
    for folder in folders:
        # sentence-transformers would refuse these, too, but without saying which file is wrong.
        _read_projection_weight(folder, _width(folder, "in_features"))
    model = MultiVectorEncoder(str(directory), device=device, model_kwargs=dict(_FULL_PRECISION), **_LOCAL)
    width = model[0].get_embedding_dimension()
    projections = [module for module in model if isinstance(module, Dense)]
    for folder, projection in zip(folders, projections, strict=True):
        if projection.in_features != width:
            raise ModelError(
                f"{folder} projects {projection.in_features} dimensions, but what comes before it gives {width}: its "
                "files are of another model. Fetch the checkpoint again."
            )
        width = projection.out_features
    return model


def _unprojected(directory: Path, device: str | None) -> MultiVectorEncoder:
    """The normalised token embeddings of a single-vector model, at the length it was trained for."""
    transformer = Transformer.load(str(directory), model_kwargs=dict(_FULL_PRECISION), **_LOCAL)
    modules = [transformer, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device=device)


_BUILDERS = {XTR: _from_xtr, STANFORD: _from_stanford, UNPROJECTED: _unprojected}


def _read_projection_weight(folder: Path, width: int) -> torch.Tensor:
    """``linear.weight`` of (dimensions, ``width``) from the weights in ``folder``; no other tensor is read."""
    file = weights_file(folder, f"the projection of {width}-dimensional token embeddings, linear.weight")
    weight = _read_tensor(file, "linear.weight")
    if weight is None:
        raise ModelError(
            f"{file} holds no linear.weight, the projection of the token embeddings, and a random one would give "
            "meaningless rankings. Fetch the checkpoint again, or use another."
        )
    if weight.ndim != 2 or weight.shape[1] != width:
        raise ModelError(
            f"linear.weight in {file} has shape {tuple(weight.shape)}, but should be (dimensions, {width}) to project "
            f"this model's {width}-dimensional token embeddings: it is of another model. Fetch the checkpoint again."
        )
    return weight


def _width(folder: Path, key: str) -> int:
    """The dimensions of a token embedding, as ``config.json`` in ``folder`` states them."""
    width = read_object(folder / "config.json").get(key)
    if not isinstance(width, int):
        raise ModelError(
            f"{folder / 'config.json'} should say how wide token embeddings are, {key}, as a whole number, but says "
            f"{width}: fetch the checkpoint again."
        )
    return width


def _read_tensor(file: Path, name: str) -> torch.Tensor | None:
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                if name not in tensors.keys():  # noqa: SIM118 (not a mapping)
                    return None
                return torch.as_tensor(tensors.get_tensor(name))
        # Never without weights_only: a pickle can run any code.
        weights: Any = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(file) from error
    except (EOFError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{file} is damaged or incomplete: fetch the checkpoint again.") from error
    if not isinstance(weights, dict) or not isinstance(weights.get(name), torch.Tensor | None):
        raise _refused(file)
    return weights.get(name)


def _refused(pickled: Path) -> ModelError:
    return ModelError(
        f"{pickled} isn't a plain dictionary of tensors, so reading it could run code: refused. Use the checkpoint's "
        "model.safetensors instead, or fetch it again."
    )


def _check_parts(directory: Path, model: MultiVectorEncoder) -> None:
    """Refuse models whose rows don't each stand for one token of a text."""
    for part in model:
        if (part is model[0] and not isinstance(part, Transformer)) or isinstance(part, BaseTokenPooling):
            raise ModelError(
                f"{directory} holds a {type(part).__name__}, which gives vectors that stand for no single token: "
                "xtrkit can't say which words they match. Use a checkpoint without it."
            )


def _check_encoder_weights(directory: Path, transformer: Transformer) -> None:
    """Refuse an encoder of which transformers made up some weights; it tells which only when asked, by loading again.

    A missing pooler doesn't matter: it comes after the token embeddings.
    """
    backbone = transformer.model
    _, report = type(backbone).from_pretrained(
        directory, config=backbone.config, output_loading_info=True, **_FULL_PRECISION
    )
    missing: list[Any] = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if missing:
        raise ModelError(
            f"The weights in {directory} lack {len(missing)} of the encoder's tensors, such as {missing[0]}: random "
            "ones would give meaningless rankings. Fetch the checkpoint again."
        )
