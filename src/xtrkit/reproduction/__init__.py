"""Claims of papers as commands.

The XTR paper's: two models trained alike but for the objective, and what they retrieve. ``laboratory.py`` trains and
indexes, ``tokens.py`` looks at retrieved tokens, ``scoring_claims.py`` and ``token_claims.py`` have a function for each
table and figure.

UR²N's: one model that retrieves and reranks, beside BM25 and others. ``unified_laboratory.py`` trains, indexes and
reranks, ``kept.py`` keeps what it found, ``unified_claims.py`` has the tables and the figure.

``claims.py`` names all of them, and ``outcome.py`` writes tables, pictures and verdicts.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.reproduction.claims import CLAIMS, Claim, claim_named
    from xtrkit.reproduction.laboratory import Laboratory, Setting
    from xtrkit.reproduction.outcome import Outcome

_HOMES = {
    "CLAIMS": "xtrkit.reproduction.claims",
    "Claim": "xtrkit.reproduction.claims",
    "Laboratory": "xtrkit.reproduction.laboratory",
    "Outcome": "xtrkit.reproduction.outcome",
    "Setting": "xtrkit.reproduction.laboratory",
    "claim_named": "xtrkit.reproduction.claims",
}

__all__ = ["CLAIMS", "Claim", "Laboratory", "Outcome", "Setting", "claim_named"]

__getattr__, __dir__ = lazy(__name__, _HOMES)
