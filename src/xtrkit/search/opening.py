"""The engine that an opened index needs."""

from __future__ import annotations

from xtrkit.errors import InputError, missing_extra
from xtrkit.indexing.store import Store
from xtrkit.search.compressed import CompressedEngine
from xtrkit.search.engine import Engine
from xtrkit.search.exact import ExactEngine
from xtrkit.search.scaling import AnyScale


def engine_of(store: Store, device: str | None = None) -> Engine:
    """The engine that reads what the store holds; of a compressed one on a device, where one is named.

    Raises:
        InputError: there is no such device, or the index is exact.
        MissingExtraError: torch isn't installed.
    """
    if store.quantiser is None:
        if device is not None:
            raise InputError(
                f"Only a compressed index is searched on a device, got {device!r} and one of float16 vectors: build it "
                "with nbits=4 (--nbits 4), or leave the device out."
            )
        return AnyScale(ExactEngine(store.corpus()))
    if device is None:
        return AnyScale(CompressedEngine(store.corpus()))
    try:
        from xtrkit.search.device import DeviceEngine
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise missing_extra("Searching on a device", "torch") from error
    return AnyScale(DeviceEngine(store.corpus(), device))
