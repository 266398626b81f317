"""What each system does to a text before the transformer, and to its vectors after: the systems' table, as values.

=============  ===========  =======================  =======  ========  =========  ===========  ===========  =========
system         query, doc.  markers                  [MASK]   skiplist  lower      projection   normalised   reduction
=============  ===========  =======================  =======  ========  =========  ===========  ===========  =========
XTR, mXTR      512, 512     none                     no       none      yes        2_Dense      yes          mean
T5-ColBERT     64, 256      none                     no       none      no         2_Dense      yes          sum
ColBERT v1     32, 180      [unused0] [unused1]      to 32    as said   uncased    linear       yes          sum
ColBERT v2     as said      as said                  as said  as said   uncased    linear       yes          sum
PyLate, ST     as said      as said                  as said  as said   as said    N_Dense      as said      sum
ColXTR         32, 180      "Query: " "Document: "   no       none      no         bottleneck   no           sum
UR²N           32, 180      "Query: " "Document: "   no       none      no         ur2n         no           sum
=============  ===========  =======================  =======  ========  =========  ===========  ===========  =========

"As said" by the files of each checkpoint. ``[CLS]``, ``[SEP]`` and ``</s>`` have vectors in all; lengths count them.

Sources: Lee et al. 2023 and its notebook (XTR); Qian et al. 2022 (T5-ColBERT), who state no lower-casing; Khattab &
Zaharia 2020 and Santhanam et al. 2022 (ColBERT); Bhat & Sen 2025 and its code (ColXTR); Bhat et al. 2025 (UR²N), which
states neither prefixes nor lengths nor a normalisation: those of ColXTR, by the same authors, are taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Treatment:
    """How a family of models treats text and vectors; None where the files of each checkpoint say.

    Attributes:
        query_prefix: what is put before a query.
        document_prefix: what is put before a document.
        query_length: most tokens of a query, markers included.
        document_length: most tokens of a document, markers included.
        expansion: whether queries are filled up with [MASK] tokens that have vectors (ColBERT's augmentation).
        skiplist: whether punctuation in documents has no vectors.
        lower_case: whether text is lower-cased first.
        sequence_mean: whether the vector of ``</s>`` is replaced by the sum of all vectors over the longest length.
        projection: which tensor makes d dimensions of the transformer's.
        normalise: whether token vectors get unit length.
        reduction: how the similarities of a query's tokens make a score; changes no ranking.
    """

    query_prefix: str | None = None
    document_prefix: str | None = None
    query_length: int | None = None
    document_length: int | None = None
    expansion: bool | None = None
    skiplist: bool | None = None
    lower_case: bool | None = None
    sequence_mean: bool = False
    projection: str = ""
    normalise: bool | None = None
    reduction: Literal["mean", "sum"] = "sum"


XTR = Treatment("", "", 512, 512, False, False, True, False, "2_Dense: linear.weight", True, "mean")
T5_COLBERT = Treatment("", "", 64, 256, False, False, False, False, "2_Dense: linear.weight", True, "sum")
COLXTR = Treatment("Query: ", "Document: ", 32, 180, False, False, False, True, "bottleneck.weight", False, "sum")
UR2N = Treatment("Query: ", "Document: ", 32, 180, False, False, False, False, "ur2n: projection.weight", False, "sum")
COLBERT = Treatment(projection="linear.weight", normalise=True)
COLBERT_V1 = Treatment("[unused0]", "[unused1]", 32, 180, True, None, True, False, "linear.weight", True, "sum")
AS_SAVED = Treatment(projection="N_Dense: linear.weight")
UNPROJECTED = Treatment("", "", None, None, False, False, None, False, "none", True, "sum")
