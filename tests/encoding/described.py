"""What encoders are asked in another process, which imports this module and not all that tests need."""

QUERY = "what is late"


def described(encoder):
    """Who it is, and what it encodes."""
    return encoder.identity, encoder.encode_queries([QUERY]).rows, encoder.query_length
