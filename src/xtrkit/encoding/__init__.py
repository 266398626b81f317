"""Text -> tokens -> embeddings.

``load_encoder`` opens a checkpoint, recognises its layout (``checkpoints.py`` lists the known ones) and gives an
:class:`~xtrkit.encoding.base.Encoder`. Everything else in xtrkit knows only that contract: where the vectors come
from, and whether torch made them, is this package's business alone.
"""

from xtrkit.encoding.base import EncodedChunk, Encoder, Token
from xtrkit.encoding.load import load_encoder

__all__ = ["EncodedChunk", "Encoder", "Token", "load_encoder"]
