"""Open an encoder by name or path: an exported model, which needs no torch, or a checkpoint, which does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xtrkit.encoding.base import Encoder
from xtrkit.encoding.checkpoints import UNPROJECTED, recognise_encoder
from xtrkit.encoding.default import DEFAULT, MINI, MINI_DIRECTORY, ORIGINAL, is_default, original_directory
from xtrkit.encoding.packaged import packaged_directory
from xtrkit.encoding.runtime_settings import SETTINGS
from xtrkit.encoding.text_encoder import Opening
from xtrkit.errors import InputError, ModelError, missing_extra
from xtrkit.values import EncoderIdentity

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# What the torch encoder reads; hub repositories often hold the same weights for other engines, too.
_HUB_FILES = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.metadata")


def load_encoder(
    name_or_path: str | Path = DEFAULT,
    *,
    device: str | None = None,
    threads: int | None = None,
    query_length: int | None = None,
    document_length: int | None = None,
    runtime: str | None = None,
) -> Encoder:
    """Load an encoder.

    Args:
        name_or_path: "default" or "xtrkit-mini" (the encoder that comes with xtrkit, without torch),
            the name of one that is a package, such as "xtrkit-multi" (of many languages, without torch, too),
            "all-MiniLM-L6-v2" (token embeddings of a single-vector model, installed with the torch extra), a directory
            that ``xtrkit export`` wrote, that of a checkpoint in one of the layouts that ``checkpoints.LAYOUTS`` lists,
            or a name on the Hugging Face hub such as "google/xtr-base-en".
        device: "cpu", "cuda", …; by default what torch finds, and the CPU for exported models. With these it is where
            documents are encoded, by torch from the export's weights (BERT alone); queries are on the CPU.
        threads: how many threads an exported model computes on; by default all that this process may use. For torch
            it is torch.set_num_threads that says it.
        query_length: most tokens of a query, markers included; by default the checkpoint's own.
        document_length: most tokens of a document, markers included; by default the checkpoint's own.
        runtime: what encodes the documents of an exported model: "onnx", "onnx-fp32", "openvino" or, where it is left
            out, "auto" (docs/encoding.md).

    Raises:
        ModelError: no such checkpoint, or one that lacks something. Nothing is ever filled in at random.
        MissingExtraError: torch or sentence-transformers isn't installed, and the model needs it.
        InputError: a length that the model can't have; a device or a runtime that there isn't.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, Path) or (not is_default(name) and name != ORIGINAL and Path(name).is_dir()):
        name = str(Path(name_or_path).resolve())  # an index keeps the name, and may be opened from another folder
    elif is_default(name):
        name = MINI
    if (exported := exported_directory(name)) is not None:
        from xtrkit.encoding.runtime_encoder import open_exported

        opening = Opening(name, device, threads, query_length, document_length, runtime)
        return open_exported(opening, exported)
    if runtime not in (None, "auto"):
        raise InputError(f"{name} runs on torch, which runtime={runtime!r} can't change: export it, or leave it out.")
    with torch_needed("Encoding text"):
        from xtrkit.devices import device_named
        from xtrkit.encoding.torch_encoder import TorchEncoder
    if device is not None:
        device_named(device)
    directory = find_checkpoint(name)
    layout = UNPROJECTED if name == ORIGINAL else recognise_encoder(directory)
    return TorchEncoder(
        name, directory, layout, device=device, query_length=query_length, document_length=document_length
    )


def exported_directory(name: str) -> Path | None:
    """Where the files of ``xtrkit export`` lie; None of a name or a directory of something else.

    Raises:
        MissingExtraError: it is a package, which isn't installed.
        ModelError: a package has no such files.
    """
    if is_default(name):
        return MINI_DIRECTORY
    if (Path(name) / SETTINGS).is_file():
        return Path(name)
    return None if Path(name).is_dir() else packaged_directory(name)


def loaded_encoder(model: str | Path | Encoder, *, device: str | None = None, runtime: str | None = None) -> Encoder:
    """An encoder as callers name one: loaded by its name or path, or as it was given.

    Args:
        model: one of these.
        device: as in :func:`load_encoder`; of a loaded encoder it was said when it was loaded.
        runtime: as there.

    Raises:
        InputError: it is none of these, or a runtime is wanted of one that is loaded.
        ModelError: it can't be loaded.
    """
    if isinstance(model, str | Path):
        return load_encoder(model, device=device, runtime=runtime)
    if isinstance(model, Encoder):
        if runtime is not None:
            raise InputError(f"The model is loaded already: load it with load_encoder(…, runtime={runtime!r}).")
        return model
    raise InputError(
        f"A model is given as its name, its path or loaded, got {model!r:.60} of type {type(model).__name__}."
    )


def load_encoder_of(
    identity: EncoderIdentity,
    model: str | Path | None = None,
    *,
    device: str | None = None,
    threads: int | None = None,
    runtime: str | None = None,
) -> Encoder:
    """Load the encoder that made an index, with the lengths that it had then.

    Args:
        identity: what the index says of it.
        model: where it is now, if it has moved; by default it is opened by the name that it had.
        device: as in :func:`load_encoder`.
        threads: as there.
        runtime: as there.

    Raises:
        ModelError: it can't be loaded. Whether it is the same model is for the caller to compare.
        MissingExtraError: torch or sentence-transformers isn't installed, and the model needs it.
    """
    try:
        return load_encoder(
            model or identity.name,
            device=device,
            threads=threads,
            query_length=identity.query_length,
            document_length=identity.document_length,
            runtime=runtime,
        )
    except ModelError as error:
        if model is not None:
            raise
        hint = "The index was made with that model: say where it is with --model (model=)."
        raise ModelError(f"{error} {hint}") from error


@contextmanager
def torch_needed(purpose: str) -> Iterator[None]:
    """Say which extra brings what an import below did not find.

    Raises:
        MissingExtraError: torch, transformers or sentence-transformers isn't installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in ("torch", "transformers", "sentence_transformers"):
            raise
        raise missing_extra(purpose, "torch") from error


def find_checkpoint(name: str) -> Path:
    """The directory of a checkpoint; a hub model is downloaded, or found in the local cache.

    Raises:
        MissingExtraError: the weights of all-MiniLM-L6-v2 aren't installed.
        ModelError: there is no such directory, and the hub and its cache don't have it either.
    """
    if name == ORIGINAL:
        return original_directory()
    if exported_directory(name) is not None:
        raise ModelError(
            f"{name} is an export, for encoding alone, and no checkpoint: give a checkpoint's directory or name."
        )
    if Path(name).is_dir():
        return Path(name)
    if not _HUB_NAME.fullmatch(name):
        raise ModelError(
            f"{name!r} is neither a directory nor a model's name (owner/model on the Hugging Face hub, or one that "
            "xtrkit models lists): check the spelling."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # the hub's client raises errors of half a dozen libraries
        reason = str(error).split("\n", maxsplit=1)[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"{name!r} is neither on this machine nor to be had from the Hugging Face hub ({reason}): check the "
            f"spelling or, offline, run hf download {name} --local-dir DIRECTORY where there is a network and pass a "
            "copy of that directory."
        ) from error
