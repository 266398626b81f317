"""Two instructions that Numba has no word for: fetch a cache line that will be needed soon; take bits for a number."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line that holds the byte at an address; nothing happens where there is no such byte.

    Args:
        typing_context: given by Numba, not by the caller.
        address: of the byte (:func:`xtrkit.kernels.vectors.address_of`); it may be any.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [pointer],
            ir.FunctionType(ir.VoidType(), [pointer, number, number, number]),
        )
        place = builder.inttoptr(arguments[0], pointer)
        builder.call(function, [place, number(0), number(3), number(1)])  # for reading, into all caches, data
        return context.get_dummy_value()

    return types.void(types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def float_of_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 that has these 32 bits.

    Two views of one array would tell the same, but a view takes Numba four tenths of a second to compile.

    Args:
        typing_context: given by Numba, not by the caller.
        bits: a uint32.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate
