"""Devices of torch's: whether there is one of some name, and whether this process may use what is on it."""

from __future__ import annotations

import torch

from xtrkit.errors import InputError, ModelError
from xtrkit.forks import begun_here


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


def check_device_survived(name: str, device: torch.device, process: int) -> None:
    """Refuse a model on another device than the CPU in a child of the process that put it there.

    Raises:
        ModelError: it is.
    """
    if device.type != "cpu" and not begun_here(process):
        raise ModelError(
            f"The model {name!r} is on {device}, which a forked process can't use: load it in the child, or start "
            "processes with spawn."
        )
