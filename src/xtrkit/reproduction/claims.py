"""The tables and figures of the XTR paper (Lee et al. 2023) that can be looked at in a small setting, by name.

Each claim's function takes a :class:`~xtrkit.reproduction.laboratory.Laboratory` and returns what it measured, with a
verdict for each thing that the paper says. A claim that does not hold here is told as such.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xtrkit.errors import InputError
from xtrkit.reproduction.laboratory import Laboratory
from xtrkit.reproduction.outcome import Outcome
from xtrkit.reproduction.scoring_claims import figure_5, figure_6, figure_7, table_1, table_5
from xtrkit.reproduction.token_claims import figure_2, figure_4, footnote_2, table_6


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        name: what it is called on the command line.
        title: what it is about.
        source: where the paper says it.
        run: measures it.
    """

    name: str
    title: str
    source: str
    run: Callable[[Laboratory], Outcome]


CLAIMS: Mapping[str, Claim] = {
    claim.name: claim
    for claim in (
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
}


def claim_named(name: str) -> Claim:
    """The claim of a name.

    Raises:
        InputError: there is none.
    """
    if name not in CLAIMS:
        raise InputError(f"Unknown claim {name!r}: there are {', '.join(CLAIMS)}.")
    return CLAIMS[name]
