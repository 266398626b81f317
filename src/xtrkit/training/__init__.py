"""Training late-interaction encoders: objectives, data, hard negatives, teachers, and the run that ties them together.

In the order of reading: ``reference.py`` says with loops what f_XTR is, ``scores.py`` computes it in bounded memory,
``objectives.py`` turns scores into losses; ``recipes.py`` has each system's choices as frozen values, ``plan.py`` all
that a training is made of; ``data.py`` reads training sets, ``mining.py`` finds hard negatives and ``teaching.py`` has
a teacher score them; ``base.py`` gives a plain encoder a projection, ``top_layers.py`` and ``activations.py`` let its
upper layers learn alone, from activations that were computed once; ``dev.py`` measures through a real index, and
``run.py`` is :func:`train`.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.training.mining import Selection, mine
    from xtrkit.training.plan import TrainingPlan
    from xtrkit.training.recipes import TrainingRecipe
    from xtrkit.training.run import TrainingSummary, carry_out, train
    from xtrkit.training.teaching import score

_HOMES = {
    "Selection": "xtrkit.training.mining",
    "TrainingPlan": "xtrkit.training.plan",
    "TrainingRecipe": "xtrkit.training.recipes",
    "TrainingSummary": "xtrkit.training.run",
    "carry_out": "xtrkit.training.run",
    "mine": "xtrkit.training.mining",
    "score": "xtrkit.training.teaching",
    "train": "xtrkit.training.run",
}

__all__ = [
    "Selection",
    "TrainingPlan",
    "TrainingRecipe",
    "TrainingSummary",
    "carry_out",
    "mine",
    "score",
    "train",
]

__getattr__, __dir__ = lazy(__name__, _HOMES)
