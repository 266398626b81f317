"""Text -> tokens -> embeddings.

``load_encoder`` opens a checkpoint, recognises its layout (``checkpoints.py`` lists the known ones) and gives an
:class:`~xtrkit.encoding.base.Encoder`. Everything else in xtrkit knows only that contract: where the vectors come
from, and whether torch made them, is this package's business alone.
"""

from typing import TYPE_CHECKING

from xtrkit.lazy import lazy

if TYPE_CHECKING:
    from xtrkit.encoding.base import EncodedChunk, Encoder, Token
    from xtrkit.encoding.load import load_encoder, load_encoder_of

_HOMES = {
    "EncodedChunk": "xtrkit.encoding.base",
    "Encoder": "xtrkit.encoding.base",
    "Token": "xtrkit.encoding.base",
    "load_encoder": "xtrkit.encoding.load",
    "load_encoder_of": "xtrkit.encoding.load",
}

__all__ = ["EncodedChunk", "Encoder", "Token", "load_encoder", "load_encoder_of"]

__getattr__, __dir__ = lazy(__name__, _HOMES)
