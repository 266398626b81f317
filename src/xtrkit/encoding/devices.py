"""Devices of torch's: whether there is one of some name."""

from __future__ import annotations

import torch

from xtrkit.errors import InputError


def device_named(name: str) -> torch.device:
    """A device of torch's that can be computed on.

    Raises:
        InputError: torch has no such device here.
    """
    try:
        place = torch.device(name)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"There is no device {name!r} here: use one that torch finds, or the CPU.") from error
    return place
