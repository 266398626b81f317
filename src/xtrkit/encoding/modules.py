"""Checkpoint -> torch modules: a sentence-transformers ``MultiVectorEncoder`` in which nothing is random.

sentence-transformers adds a randomly initialised projection where it finds none (and it looks for none in ``2_Dense``,
where google/xtr-base-en has its own); transformers does the same with missing weights. Here both are errors.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import BaseTokenPooling, MultiVectorMask
from transformers.utils import logging as transformers_logging

from xtrkit.devices import check_device_survived as check_device_survived
from xtrkit.encoding.checkpoints import (
    COLXTR,
    NATIVE,
    STANFORD,
    T5_COLBERT,
    UNPROJECTED,
    UR2N,
    XTR,
    Layout,
    check_not_pickled,
    dense_folders,
)
from xtrkit.encoding.t5 import FULL_PRECISION, LOCAL, build_t5
from xtrkit.encoding.tensors import read_projection, refused, stated_width
from xtrkit.errors import ModelError, XtrkitError
from xtrkit.forks import ForkLock
from xtrkit.machine import usable_cores

# Of three libraries, and of corrupt files.
_LOADING_ERRORS = (
    OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, ImportError, SafetensorError
)  # fmt: skip


def build_model(directory: Path, layout: Layout, device: str | None) -> MultiVectorEncoder:
    """The model of a checkpoint: in full precision, ready to encode, with every weight read from a file.

    Raises:
        ModelError: something is missing or of the wrong shape; the message names the file.
    """
    if torch.get_num_threads() > usable_cores():  # torch knows of no quotas
        torch.set_num_threads(usable_cores())
    with said_in_a_sentence(directory, layout):
        check_not_pickled(directory)
        model = _BUILDERS.get(layout, _from_modules_json)(directory, layout, device)
        _check_parts(directory, model)
        check_all_weights_read(directory, model[0].model)
        check_tokenizer(directory, model[0].tokenizer, model[0].model)
    # sentence-transformers trusts tokenizer.json to remember the lower-casing, but a T5 tokenizer rebuilds its
    # normalizer when it is loaded: write the flag into the module's own configuration, so that a saved copy keeps it.
    if model[0].do_lower_case:
        model[0].config_keys = [*model[0].config_keys, "do_lower_case"]
    return model.float().eval()


@contextmanager
def said_in_a_sentence(directory: Path, layout: Layout) -> Iterator[None]:
    """Turn the errors of three libraries that can't load a checkpoint into one sentence, and keep their logs quiet."""
    try:
        with quiet():
            yield
    except XtrkitError:
        raise
    except pickle.UnpicklingError as error:
        raise refused(directory / "pytorch_model.bin") from error
    except _LOADING_ERRORS as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
        raise ModelError(
            f"{directory} (layout {layout.name}) can't be loaded ({type(error).__name__}: {reason}): fetch the "
            "checkpoint again."
        ) from error


_ONE_AT_A_TIME = ForkLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and warnings of transformers and sentence-transformers while the block runs.

    One thread at a time: two at once would take each other's silence for what is to be restored, and each other's
    truncation for their own, as a tokenizer keeps its settings between two steps of a call.
    """
    with _ONE_AT_A_TIME:
        yield from _silenced()


def _one_thread() -> None:
    """OpenMP waits in a forked child for threads that only the parent has, unless it is content with one."""
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread)


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


def _from_stanford(directory: Path, layout: Layout, device: str | None) -> MultiVectorEncoder:
    """``HF_ColBERT``: the projection is ``linear.weight`` among the encoder's weights (Santhanam et al. 2022)."""
    read_projection(directory, stated_width(directory, "hidden_size"))
    return MultiVectorEncoder(str(directory), device=device, model_kwargs=dict(FULL_PRECISION), **LOCAL)


def _from_modules_json(directory: Path, layout: Layout, device: str | None) -> MultiVectorEncoder:
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
        read_projection(folder, stated_width(folder, "in_features"))
    model = MultiVectorEncoder(str(directory), device=device, model_kwargs=dict(FULL_PRECISION), **LOCAL)
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


def _unprojected(directory: Path, layout: Layout, device: str | None) -> MultiVectorEncoder:
    """The normalised token embeddings of a single-vector model, at the length it was trained for."""
    transformer = Transformer.load(str(directory), model_kwargs=dict(FULL_PRECISION), **LOCAL)
    modules = [transformer, MultiVectorMask(), Normalize(module_input_name="token_embeddings")]
    return MultiVectorEncoder(modules=modules, device=device)


_BUILDERS = {
    XTR: build_t5, T5_COLBERT: build_t5, COLXTR: build_t5, UR2N: build_t5, STANFORD: _from_stanford,
    UNPROJECTED: _unprojected,
}  # fmt: skip


def _check_parts(directory: Path, model: MultiVectorEncoder) -> None:
    """Refuse models whose rows don't each stand for one token of a text."""
    for part in model:
        if (part is model[0] and not isinstance(part, Transformer)) or isinstance(part, BaseTokenPooling):
            raise ModelError(
                f"{directory} holds a {type(part).__name__}, which gives vectors that stand for no single token: "
                "xtrkit can't say which words they match. Use a checkpoint without it."
            )


def check_all_weights_read(directory: Path, model: Any) -> None:
    """Refuse a model of which transformers made up some weights; it tells which only when asked, by loading again.

    A missing pooler doesn't matter: it comes after the token embeddings.
    """
    _, report = type(model).from_pretrained(directory, config=model.config, output_loading_info=True, **FULL_PRECISION)
    check_complete(directory, report)


def check_complete(directory: Path, report: dict[str, Any]) -> None:
    """Refuse a model whose loading ``report`` names weights that transformers made up."""
    missing: list[Any] = sorted(key for key in report["missing_keys"] if "pooler." not in key)
    if missing:
        raise ModelError(
            f"The weights in {directory} lack {len(missing)} of the model's tensors, such as {missing[0]}: random "
            "ones would give meaningless rankings. Fetch the checkpoint again."
        )


def check_tokenizer(directory: Path, tokenizer: Any, model: Any) -> None:
    """Refuse a tokenizer that knows pieces which the model has no embedding for."""
    last, rows = max(tokenizer.get_vocab().values()), model.get_input_embeddings().num_embeddings
    if last >= rows:
        raise ModelError(
            f"The tokenizer in {directory} counts to {last}, but the model has only {rows} embeddings: one of them is "
            "of another model. Fetch the checkpoint again."
        )
