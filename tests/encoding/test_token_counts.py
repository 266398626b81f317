"""How many tokens a text has tells whether some of it was cut off."""

import pytest

from tests.encoding.checkpoint_factory import LAYOUTS
from xtrkit.encoding import Encoder, load_encoder


@pytest.mark.parametrize("layout", [*LAYOUTS, "default", "all-MiniLM-L6-v2"])
def test_a_query_that_is_cut_off_has_more_tokens_than_fit(encoders, layout):
    encoder = encoders[layout]
    assert isinstance(encoder, Encoder)
    long = "late " * 600
    assert encoder.query_token_count(long) >= 600 > encoder.query_length
    assert len(encoder.encode_queries([long])[0]) == encoder.query_length
    assert encoder.document_token_count(long) >= 600 > encoder.document_length


@pytest.mark.parametrize("layout", [*LAYOUTS, "default"])
def test_a_query_that_fits_has_as_many_tokens_as_rows_but_for_masks(encoders, layout):
    encoder = encoders[layout]
    for text in ("late", "What is late retrieval?", ""):
        real = [token for token in encoder.query_tokens(text) if token.piece != "[MASK]"]
        assert encoder.query_token_count(text) == len(real) <= encoder.query_length


def test_lengths_that_were_chosen_do_not_change_the_count():
    assert load_encoder(query_length=4).query_token_count("one two three four") == 6
