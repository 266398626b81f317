"""The monoT5 that needs no torch: an exported graph, a tokenizer, and NumPy between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from xtrkit.encoding.batching import batches_of
from xtrkit.encoding.runtime_onnx import OnnxGraph
from xtrkit.encoding.runtime_settings import TOKENIZER
from xtrkit.encoding.users_text import UsersText
from xtrkit.errors import InputError, ModelError
from xtrkit.progress import progress_bar
from xtrkit.reranking.exported_settings import GRAPH, RerankerSettings, read_reranker_settings
from xtrkit.reranking.load import pickled
from xtrkit.reranking.prompt_tokens import PromptTokens

# One core gains nothing from more: it reads the weights of a batch of few tokens once for them, and what is longer
# falls out of its caches.
_TOKENS_A_THREAD = 512


class ExportedMonoT5:
    """A :class:`~xtrkit.reranking.base.Reranker` over a directory that ``xtrkit export`` made of a monoT5.

    Attributes:
        name: what the user called it.
        settings: what its directory says.
    """

    def __init__(
        self, name: str, directory: Path, *, threads: int | None = None, max_length: int | None = None
    ) -> None:
        """Open a directory; arguments as of ``load_reranker``.

        Raises:
            ModelError: something is missing or damaged.
        """
        self.name, self.settings = name, read_reranker_settings(directory)
        self._choices = (threads, max_length)
        self._prompts = PromptTokens(*_reading(directory), max_length or self.settings.max_length)
        self._graph = OnnxGraph(directory / GRAPH, threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(self.name, "cpu", None, self._choices[1], self._choices[0])

    def score(
        self, query: str, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False
    ) -> npt.NDArray[np.float32]:
        """(N,) log-probabilities that each text is relevant to the query.

        Args:
            query: the query.
            texts: documents; their ends are cut off where the prompt would be longer than the most tokens.
            batch_size: most pairs of 128 tokens that are scored together; fewer are where more gain nothing.
            progress: show a progress bar.
        """
        if isinstance(texts, str):
            raise InputError("Expected several texts, got one string: pass a list, such as [text].")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        scores = np.empty(len(texts), dtype=np.float32)
        if not texts:
            return scores
        prompts = self._prompts.ids(query, texts)
        lengths = np.array([len(ids) for ids in prompts], dtype=np.int64)
        most = _TOKENS_A_THREAD * self._graph.threads
        with progress_bar("Reranking", len(prompts), shown=progress, unit="passages") as advance:
            for places in batches_of(lengths, batch_size, most):
                scores[places] = self._scored([prompts[place] for place in places])
                advance(len(places))
        return scores

    def _scored(self, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        lengths = np.array([len(ids) for ids in prompts])
        real = np.arange(lengths.max()) < lengths[:, None]
        ids = np.full(real.shape, self.settings.pad_id, dtype=np.int64)
        ids[real] = np.concatenate([np.array(tokens, dtype=np.int64) for tokens in prompts])
        return self._graph.run(ids, real.astype(np.int64))


def _reading(directory: Path) -> tuple[Tokenizer, UsersText]:
    """The directory's tokenizer, which reads all that it is given as text, and how it does."""
    file = directory / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises a bare Exception
        raise ModelError(f"{file} isn't a tokenizer ({error}): export the model again.") from error
    users_text = UsersText(tokenizer, {})
    return users_text.apply(tokenizer), users_text


__all__ = ["ExportedMonoT5", "RerankerSettings"]
