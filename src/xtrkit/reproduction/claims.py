"""Tables and figures of papers that can be looked at in a small setting, by name.

Those of the XTR paper (Lee et al. 2023), and those of UR²N's (Bhat et al. 2025). Each claim's function takes the
laboratory of its paper and returns what it measured, with a verdict for each thing that the paper says. A claim that
does not hold here is told as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from xtrkit.errors import InputError
from xtrkit.reproduction import unified_claims
from xtrkit.reproduction.laboratory import Laboratory, Setting
from xtrkit.reproduction.outcome import Outcome
from xtrkit.reproduction.scoring_claims import figure_5, figure_6, figure_7, table_1, table_5
from xtrkit.reproduction.token_claims import figure_2, figure_4, footnote_2, table_6
from xtrkit.reproduction.unified_laboratory import UnifiedLaboratory, UnifiedSetting


@dataclass(frozen=True)
class Paper:
    """Where claims come from, and what they are measured with.

    Attributes:
        name: authors and year.
        setting: the fields of its claims' settings, and what they are where nothing is said.
        laboratory: makes what its claims ask for.
        tolerance: how far figures may be from a record's.
        models: fields of the setting that may be directories.
    """

    name: str
    setting: Setting
    laboratory: type[Laboratory]
    tolerance: float = 0.02
    models: tuple[str, ...] = ("model",)


XTR_PAPER = Paper("Lee et al. 2023", Setting(), Laboratory)
# Rerankers that are trained again, on another device, differ by more than encoders.
UR2N_PAPER = Paper(
    "Bhat et al. 2025", UnifiedSetting(), UnifiedLaboratory, 0.03, ("model", "encoder", "colbert", "xtr", "reranker")
)


@dataclass(frozen=True)
class Claim:
    """A claim of a paper.

    Attributes:
        name: what it is called on the command line.
        title: what it is about.
        source: where the paper says it.
        run: measures it.
        paper: which.
    """

    name: str
    title: str
    source: str
    run: Callable[[Any], Outcome]
    paper: Paper = XTR_PAPER


_XTR = (
    Claim("table-1", "What scoring costs", "Table 1, §3.2", table_1),
    Claim("table-5", "Imputation and objective", "Table 5", table_5),
    Claim("figure-2", "Token similarities", "Figure 2", figure_2),
    Claim("figure-4", "Relevant and lexical tokens", "Figure 4", figure_4),
    Claim("figure-5", "How many tokens are retrieved: k′", "Figure 5 and Table D.2", figure_5),
    Claim("figure-6", "k_train and k′", "Figure 6", figure_6),
    Claim("figure-7", "Batch size and k_train", "Figure 7", figure_7),
    Claim("footnote-2", "Tokens a candidate", "Footnote 2", footnote_2),
    Claim("table-6", "Token retrieval in context", "Tables 6 and E.1 to E.5", table_6),
)
_UR2N = (
    Claim("ur2n-table-1", "UR²N as a reranker", "Tables 1 and 2", unified_claims.table_1, UR2N_PAPER),
    Claim("ur2n-table-3", "UR²N as a retriever", "Table 3", unified_claims.table_3, UR2N_PAPER),
    Claim("ur2n-figure-2", "How many are reranked", "Figure 2", unified_claims.figure_2, UR2N_PAPER),
    Claim("ur2n-table-4", "Sizes of indexes", "Table 4", unified_claims.table_4, UR2N_PAPER),
)
CLAIMS: Mapping[str, Claim] = {claim.name: claim for claim in (*_XTR, *_UR2N)}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": tuple(claim.name for claim in _XTR),
    "ur2n": tuple(claim.name for claim in _UR2N),
}
"""Names for all claims of a paper."""


def claim_named(name: str) -> Claim:
    """The claim of a name.

    Raises:
        InputError: there is none.
    """
    if name not in CLAIMS:
        raise InputError(f"Unknown claim {name!r}: there are {', '.join(CLAIMS)}.")
    return CLAIMS[name]
