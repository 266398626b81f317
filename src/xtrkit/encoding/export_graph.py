"""A torch encoder -> an ONNX graph, and the values of its layout."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from tokenizers import Tokenizer

from xtrkit.encoding.modules import quiet
from xtrkit.encoding.runtime_settings import TOKENIZER, Expansion, RuntimeSettings
from xtrkit.encoding.t5 import SequenceMean
from xtrkit.encoding.torch_encoder import TorchEncoder
from xtrkit.errors import ExportError

# The newest that all runtimes in use understand, and that has LayerNormalization as one operation.
_OPSET = 17


class _Whole(torch.nn.Module):
    """All modules of a model but those that NumPy applies afterwards: ids and attention mask -> vectors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(part for part in model if not isinstance(part, MultiVectorMask | SequenceMean))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        features: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
        for part in self.parts:
            features = part(features)
        vectors: torch.Tensor = features["token_embeddings"]
        return vectors


def write_graph(encoder: TorchEncoder, directory: Path) -> None:
    """Write ``model.onnx`` and the tokenizer of an encoder into ``directory``.

    The encoder is changed: its attention is computed step by step from here on, as all exporters understand it.

    Raises:
        ExportError: the exporter failed on this model.
    """
    tokenizer = Tokenizer.from_str(encoder.model[0].tokenizer.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / TOKENIZER))
    encoder.model[0].model.set_attn_implementation("eager")
    whole = _Whole(encoder.model).eval()
    # Two texts of which one is padded: what a trace of a full batch would take for constant differs here.
    ids = torch.full((2, 13), int(encoder.model[0].tokenizer.unk_token_id or 0))
    attended = torch.ones_like(ids)
    attended[1, 7:] = 0
    try:
        with quiet(), torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, on what the comparison with torch checks
            _trace(whole, ids, attended, directory / "model.onnx")
    except Exception as error:  # exporters raise errors of every kind
        reason = str(error).strip().split("\n", maxsplit=1)[0].rstrip(".")
        raise ExportError(
            f"The exporter failed on this model ({type(error).__name__}: {reason}): use it with torch."
        ) from error


def settings_of(encoder: TorchEncoder, *, runtime: str, precision: str, source: str) -> RuntimeSettings:
    """What a torch encoder does to texts and vectors beside its graph, as values.

    Args:
        encoder: the encoder.
        runtime: what will run the graph.
        precision: of the graph.
        source: sha256 over the files of the checkpoint.
    """
    transformer, model = encoder.model[0], encoder.model
    masks = [part for part in model if isinstance(part, MultiVectorMask)]
    skipped = [number for part in masks if part._skiplist_ids is not None for number in part._skiplist_ids.tolist()]
    only = next((part.keep_only_token_ids for part in masks if part.keep_only_token_ids), None)
    longest = getattr(transformer.config, "max_position_embeddings", None)
    return RuntimeSettings(
        layout=encoder.identity.layout,
        runtime=runtime,
        precision=precision,
        dim=model.get_embedding_dimension(),
        query_prompt=model.prompts.get("query") or "",
        document_prompt=model.prompts.get("document") or "",
        query_length=encoder.query_length,
        document_length=encoder.document_length,
        longest=longest if isinstance(longest, int) and longest > 0 else None,
        lower_case=bool(transformer.do_lower_case),
        pad_id=int(transformer.tokenizer.pad_token_id or 0),
        expansion=_expansion(transformer),
        skipped_ids=tuple(skipped),
        skipped_in=tuple(masks[0].skiplist_tasks) if masks else (),
        only_ids=tuple(only) if only else None,
        sequence_mean=any(isinstance(part, SequenceMean) for part in model),
        normalise=False,
        score_reduction="mean" if encoder.identity.layout == "xtr" else "sum",
        nprobe=None,
        source=source,
        files={},
    )


def _expansion(transformer: Any) -> Expansion | None:
    given = transformer.query_expansion
    if given is None:
        return None
    tokenizer = transformer.tokenizer
    if given.get("token") is not None:
        token = tokenizer.convert_tokens_to_ids(given["token"])
    else:
        token = tokenizer.eos_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
    return Expansion(
        int(tokenizer.pad_token_id if token is None else token),
        length=given["length"],
        fixed=given["strategy"] == "fixed",
        attend=bool(given.get("attend")),
    )


def _trace(whole: torch.nn.Module, ids: torch.Tensor, attended: torch.Tensor, file: Path) -> None:
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        whole,
        (ids, attended),
        str(file),
        input_names=names,
        output_names=["vectors"],
        dynamic_axes={name: {0: "texts", 1: "tokens"} for name in [*names, "vectors"]},
        opset_version=_OPSET,
        # The newer exporter needs three times as long and two packages more, for graphs that run no faster.
        dynamo=False,
    )
