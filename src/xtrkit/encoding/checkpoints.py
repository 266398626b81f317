"""The checkpoint layouts that xtrkit can load, as values, and the files in them that decide the embeddings.

A directory is recognised by its small JSON files alone; no weight is opened here, and nothing imports torch.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from xtrkit.encoding import treatment
from xtrkit.encoding.treatment import Treatment
from xtrkit.errors import ModelError

# Of projections, in the order of preference: safetensors can't carry code, a pickle can. google/xtr-base-en publishes
# its projection as a pickle alone, which is read as plain tensors; encoders that are pickles must be converted first.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
UR2N_SETTINGS, UR2N_WEIGHTS = "ur2n.json", "ur2n.safetensors"

_CONFIGURATIONS = (
    "config.json", "modules.json", "config_sentence_transformers.json", "sentence_*_config.json", "artifact.metadata",
    UR2N_SETTINGS,
)  # fmt: skip
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Mark:
    """A sign by which a layout is known: a JSON file is there and, where ``key`` is given, says one of ``values``.

    Attributes:
        file: the JSON file, an object or a list of objects.
        key: the entry to look at.
        values: what it may be; a ``*`` stands for anything.
    """

    file: str
    key: str = ""
    values: tuple[str, ...] = ()

    def holds(self, directory: Path) -> bool:
        """Whether ``directory`` has this mark."""
        path = directory / self.file
        if not path.is_file():
            return False
        return not self.key or any(
            fnmatchcase(str(found), value) for found in _entries(read_json(path), self.key) for value in self.values
        )

    def __str__(self) -> str:
        return f"{self.file} with {self.key} {' or '.join(self.values)}" if self.key else self.file


@dataclass(frozen=True)
class Layout:
    """How a family of checkpoints lies on disk.

    Attributes:
        name: what an index calls it.
        marks: all of these hold.
        without: none of these files is there.
        treatment: what its models do to text and vectors.
        kind: "encoder", or "reranker" where nothing in the directory can encode one text.
    """

    name: str
    marks: tuple[Mark, ...]
    without: tuple[str, ...] = ()
    treatment: Treatment = treatment.AS_SAVED
    kind: Literal["encoder", "reranker"] = "encoder"

    def holds(self, directory: Path) -> bool:
        """Whether ``directory`` is laid out like this."""
        return all(mark.holds(directory) for mark in self.marks) and not any(
            (directory / file).exists() for file in self.without
        )

    def __str__(self) -> str:
        return f"{' and '.join(map(str, self.marks))} ({self.name})"


_SENTENCE_TRANSFORMERS = "config_sentence_transformers.json"

# A directory written by MultiVectorEncoder.save_pretrained of sentence-transformers 6.
NATIVE = Layout(
    "sentence-transformers", (Mark("modules.json"), Mark(_SENTENCE_TRANSFORMERS, "model_type", ("MultiVectorEncoder",)))
)
# PyLate 1.x wrote either mark, depending on the version.
PYLATE = Layout("pylate", (Mark("modules.json"), Mark(_SENTENCE_TRANSFORMERS, "model_type", ("ColBERT",))))
PYLATE_CLASSES = Layout("pylate", (Mark("modules.json", "type", ("pylate.*",)),))
# colbert-ir/colbertv2.0 and its kin: the projection is `linear.weight` among the encoder's weights.
STANFORD = Layout(
    "stanford-colbert",
    (Mark("config.json", "architectures", ("HF_ColBERT",)),),
    ("modules.json",),
    treatment.COLBERT,
)
_T5 = Mark("config.json", "model_type", ("t5", "mt5"))
# A monoT5 beside which `xtrkit ur2n init` put a retrieval branch.
UR2N = Layout("ur2n", (Mark(UR2N_SETTINGS), _T5), ("modules.json",), treatment.UR2N)
# PrimeQA's class `XTR`, saved by transformers: the projection is `bottleneck.weight` among the encoder's weights.
COLXTR = Layout("colxtr", (_T5, Mark("config.json", "architectures", ("XTR",))), ("modules.json",), treatment.COLXTR)
# castorini/monot5-* and its kin, or any other T5 that can generate.
MONOT5 = Layout(
    "monot5",
    (Mark("config.json", "architectures", ("*T5ForConditionalGeneration",)),),
    ("modules.json", "2_Dense", "1_Dense"),
    kind="reranker",
)
CROSS_ENCODER = Layout(
    "cross-encoder", (Mark("config.json", "architectures", ("*ForSequenceClassification",)),), kind="reranker"
)
# google/xtr-base-en (t5) and google/xtr-base-multilingual (mt5): the projection is in 2_Dense/.
XTR = Layout("xtr", (_T5,), ("modules.json",), treatment.XTR)
# The files are those of XTR, so it is never guessed: `xtrkit convert --layout t5-colbert` says so once.
T5_COLBERT = Layout("t5-colbert", (_T5,), ("modules.json",), treatment.T5_COLBERT)
# The encoder that comes with the torch extra; never guessed from a directory, because it has no projection.
UNPROJECTED = Layout("unprojected", (Mark("config.json"),), treatment=treatment.UNPROJECTED)

LAYOUTS = (NATIVE, PYLATE, PYLATE_CLASSES, STANFORD, UR2N, COLXTR, MONOT5, CROSS_ENCODER, XTR)
"""What a directory is recognised as, the first that holds."""

_log = logging.getLogger("xtrkit")


def recognise(directory: Path) -> Layout:
    """The layout of the checkpoint in ``directory``, which may be a reranker's.

    Raises:
        ModelError: it has none of ``LAYOUTS``; the message says what was looked for.
    """
    for layout in LAYOUTS:
        if layout.holds(directory):
            _log.info("%s is laid out as %s.", directory, layout)
            return layout
    message = f"{directory} isn't a late-interaction checkpoint: looked for {'; '.join(map(str, LAYOUTS))}."
    if (directory / "config.json").is_file():
        message += (
            " It holds a plain model: no projection of its token embeddings was found, and a random one would give "
            "meaningless rankings; train one, or use a late-interaction checkpoint."
        )
    raise ModelError(message)


def recognise_encoder(directory: Path) -> Layout:
    """The layout of the encoder in ``directory``.

    Raises:
        ModelError: it is none of ``LAYOUTS``, or a reranker.
    """
    layout = recognise(directory)
    if layout.kind == "encoder":
        return layout
    hint = ", or make a retriever of it too with xtrkit ur2n init; an XTR would have a 2_Dense folder"
    raise ModelError(
        f"{directory} is a reranker (layout {layout.name}): it scores a query and a text together and can't encode "
        f"either alone. Give it to --rerank (reranker=){hint if layout is MONOT5 else ''}."
    )


def check_not_pickled(directory: Path) -> None:
    """Refuse a model of which there is only a pickle.

    Raises:
        ModelError: its weights aren't in safetensors.
    """
    pickled = sorted(directory.glob("pytorch_model*.bin"))
    if pickled and not any(directory.glob("model*.safetensors")):
        raise ModelError(
            f"The weights in {directory} are a pickle ({pickled[0].name}), which can run code: write a copy in "
            f"safetensors with xtrkit convert {directory} OUT, which reads plain tensors only, and use that."
        )


def weights_file(folder: Path, purpose: str) -> Path:
    """The weights in ``folder``: safetensors where both kinds are there.

    Raises:
        ModelError: there are none; the message says what they would be for (``purpose``).
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise ModelError(
        f"{folder / WEIGHTS[0]} (or {WEIGHTS[1]}) is missing: it should hold {purpose}. Fetch the checkpoint again, "
        "with all its folders."
    )


def dense_folders(directory: Path) -> list[Path]:
    """The folders of the projections that ``modules.json`` lists, in order."""
    return [
        directory / module.get("path", "")
        for module in read_json(directory / "modules.json")
        if module.get("type", "").endswith(".Dense")
    ]


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ModelError: it can't be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read as JSON ({error}): fetch the checkpoint again.") from error


def read_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file that should hold one object.

    Raises:
        ModelError: it can't be read, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ModelError(
            f"{path} should hold a JSON object, got a {type(content).__name__}: fetch the checkpoint again."
        )
    return content


def identified(content: str, in_force: str) -> str:
    """The fingerprint of a model.

    Args:
        content: hash of its files.
        in_force: what was chosen beside the files, such as the lengths.
    """
    return hashlib.sha256(f"{content}\0{in_force}".encode()).hexdigest()


def content_hash(directory: Path) -> str:
    """sha256 over the files of a checkpoint that decide its embeddings, wherever the directory lies."""
    digest = hashlib.sha256()
    for path in decisive_files(directory):
        digest.update(f"\0{path.relative_to(directory).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def decisive_files(directory: Path) -> list[Path]:
    """The files that decide the embeddings, in a fixed order: configurations, tokenizer, weights.

    README, weights for other engines and a pickled twin of safetensors are none of them.
    """
    # Parts beside the encoder lie in numbered folders, such as 2_Dense.
    folders = [directory, *sorted(directory.glob("[0-9]*_*/"))]
    return [path for folder in folders for path in _decisive_in(folder)]


def tokenizer_files(directory: Path) -> list[Path]:
    """The files of a tokenizer, in a fixed order."""
    return [path for pattern in _TOKENIZER for path in sorted(directory.glob(pattern))]


def _decisive_in(folder: Path) -> Iterator[Path]:
    for pattern in (*_CONFIGURATIONS, *_TOKENIZER):
        yield from sorted(folder.glob(pattern))
    # Large models are cut into numbered shards.
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        if found := sorted(folder.glob(pattern)):
            yield from found
            break
    yield from sorted(folder.glob(UR2N_WEIGHTS))


def _entries(content: Any, key: str) -> list[Any]:
    objects = content if isinstance(content, list) else [content]
    found = [entry.get(key) for entry in objects if isinstance(entry, dict)]
    return [value for entry in found for value in (entry if isinstance(entry, list) else [entry])]
