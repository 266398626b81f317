"""The exported model is loaded once."""

from tests.integrations.conftest import loaded_once

__all__ = ["loaded_once"]
