"""Training late-interaction encoders: objectives, data, hard negatives, teachers, and the run that ties them together.

In the order of reading: ``reference.py`` says with loops what f_XTR is, ``scores.py`` computes it in bounded memory,
``objectives.py`` turns scores into losses; ``recipes.py`` has each system's choices as frozen values; ``data.py`` reads
training sets, ``mining.py`` finds hard negatives and ``teaching.py`` has a teacher score them; ``base.py`` gives a
plain encoder a projection, ``top_layers.py`` and ``activations.py`` let its upper layers learn alone, from activations
that were computed once; ``dev.py`` measures through a real index, and ``run.py`` is :func:`train`.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.training.mining import mine
    from xtrkit.training.run import train
    from xtrkit.training.teaching import score

_HOMES = {
    "mine": "xtrkit.training.mining",
    "score": "xtrkit.training.teaching",
    "train": "xtrkit.training.run",
}

__all__ = ["mine", "score", "train"]

__getattr__, __dir__ = lazy(__name__, _HOMES)
