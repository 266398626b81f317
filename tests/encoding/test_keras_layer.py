"""XTR's README, with our loader in the place of TensorFlow's."""

import numpy as np
import pytest

from tests.encoding import checkpoint_factory as factory
from xtrkit.encoding.keras_layer import KerasLayer, encodings_and_mask
from xtrkit.errors import InputError

SAMPLES = ["dog", "Puppies are nice.", "I enjoy taking long walks along the beach with my dog."]


def test_the_published_usage(checkpoints, encoders):
    encoder = KerasLayer(checkpoints["xtr"], signature="serving_default", signature_outputs_as_dict=True)
    sample_embeds = encoder(SAMPLES)
    encodings = sample_embeds["encodings"].numpy()
    mask = sample_embeds["mask"].numpy()
    found = encoders["xtr"].encode_documents(SAMPLES)
    assert encodings.shape == (3, max(found.lengths), factory.DIM)
    assert type(encodings) is np.ndarray
    assert mask.sum(axis=1).tolist() == found.lengths.tolist()
    for rows, padded, real in zip(found, encodings, mask.astype(bool), strict=True):
        np.testing.assert_array_equal(padded[real], rows)
        assert not padded[~real].any()
    np.testing.assert_array_equal(encodings, encoder([text.lower() for text in SAMPLES])["encodings"])


def test_the_published_length_and_bytes(checkpoints, encoders):
    given = KerasLayer(checkpoints["xtr"], length=512)([text.encode() for text in SAMPLES])
    assert given["encodings"].shape == (3, 512, factory.DIM)
    assert given["mask"].shape == (3, 512)
    assert encodings_and_mask(encoders["xtr"], [])["encodings"].shape == (0, 0, factory.DIM)


def test_bad_input(checkpoints, encoders):
    with pytest.raises(InputError, match="got one string"):
        encodings_and_mask(encoders["xtr"], "dog")
    with pytest.raises(InputError, match=r"length must be at least \d+, the tokens of the longest text, got 2"):
        encodings_and_mask(encoders["xtr"], SAMPLES, length=2)
    with pytest.raises(InputError, match="serving_default"):
        KerasLayer(checkpoints["xtr"], signature="other")
