"""The one instruction that Numba has no word for: fetch a cache line that will be needed soon."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def prefetch(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Ask for the cache line that holds ``array[row, column]``; nothing happens where there is no such element.

    Args:
        typing_context: given by Numba, not by the caller.
        array: (M, w) bytes.
        row: a row.
        column: a column.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0])
        width = cgutils.unpack_tuple(builder, pointer.shape)[1]
        place = builder.add(builder.mul(arguments[1], width), arguments[2])
        address = builder.gep(pointer.data, [place])
        number = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            [address.type],
            ir.FunctionType(ir.VoidType(), [address.type, number, number, number]),
        )
        builder.call(function, [address, number(0), number(3), number(1)])  # for reading, into all caches, data
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate
