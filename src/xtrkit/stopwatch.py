"""What each stage of a search takes, for those who ask.

The stages of a compressed index: "quantise" (rotate the query and round it), "centroids" (choose clusters), "codes"
(similarities of what is in them), "imputation", "documents" (sums by document, and the best of them) and "rerank" (all
tokens of candidates). Of an exact one: "tokens" (products and the best k'), "documents". Where words count too:
"words", "fusion".
"""

from __future__ import annotations

import time
from collections.abc import Mapping


class Stopwatch:
    """Adds up seconds by stage.

    Attributes:
        seconds: {stage: seconds}, in the order in which stages were first met.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """What passed since the last call, or since the beginning, was this stage."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def skip(self, seconds: Mapping[str, float]) -> None:
        """What passed since the last call was measured by stage elsewhere."""
        self._last = time.perf_counter()
        for stage, taken in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + taken
