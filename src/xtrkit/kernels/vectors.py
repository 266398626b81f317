"""Vector values for kernels: registers of integers and floats, on processors that have instructions for codes.

Numba compiles loops, and LLVM finds vector instructions for most of them. Not for products of packed codes: it ends
every row with a sum across a register, which costs more than the products. So this module gives kernels values that are
registers, :data:`ints` and :data:`floats` of :data:`LANES` numbers, and a :func:`tile <no_sums>` of as many sums, one
register a row, that become one register of row sums at the end (:func:`row_sums`). Everything is plain LLVM code for
vectors but two things that each target has an instruction of its own for:

==========  =====  ==========================================  =========================================
target      bytes  unsigned codes · signed query bytes          16-bit integers
==========  =====  ==========================================  =========================================
avx512vnni  64     ``vpdpbusd``: four products a lane, added    ``vpmaddwd``: two products a lane
avx2        32     ``vpmaddubsw``: two products in 16 bits      ``vpmaddwd``
neon        16     ``sdot``: four products a lane, added        products and a pairwise addition
==========  =====  ==========================================  =========================================

A processor without any of them gets plain loops: every kernel that is made of vectors has such a twin, which computes
the same integers and the same floats in the same order. Which target it is, is told by the features that Numba compiles
for, never by the machine itself: machine code in Numba's cache is kept by these features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, register_model

I8, I16, I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
F32 = ir.FloatType()
HALF_SHIFT = 13
"""Places by which the bits of a float16 move to become those of a float32 (:mod:`xtrkit.kernels.dense`)."""


class Target(NamedTuple):
    """A kind of processor, as far as kernels see it.

    Attributes:
        name: "avx512vnni", "avx2", "neon", or "portable" where there are no vector values.
        width: bytes of a register; 0 where there are no vector values.
    """

    name: str
    width: int

    @property
    def lanes(self) -> int:
        """Numbers of 32 bits in a register."""
        return self.width // 4


AVX512, AVX2, NEON, PORTABLE = Target("avx512vnni", 64), Target("avx2", 32), Target("neon", 16), Target("portable", 0)
_NEEDED = {AVX512: ("+avx512f", "+avx512bw", "+avx512vnni"), AVX2: ("+avx2",), NEON: ("+dotprod",)}
_WITHOUT_AVX512 = ("haswell", "broadwell", "skylake", "alderlake", "znver1", "znver2", "znver3", "x86-64-v3")
"""What LLVM calls processors without AVX-512: naming one for Numba leaves the features of the machine as they are."""


def target_of(cpu_name: str | None, features: str) -> Target:
    """What kernels are made of for a processor.

    Args:
        cpu_name: LLVM's name for it, where one was asked for.
        features: LLVM's list, such as "+avx2,-avx512f".
    """
    has = set(features.split(","))
    for target, needed in _NEEDED.items():
        if has.issuperset(needed) and not (target == AVX512 and cpu_name in _WITHOUT_AVX512):
            return target
    return PORTABLE


def _features() -> str:
    """What Numba compiles for (``numba.core.codegen``): its settings where it has some, else the machine."""
    if config.CPU_FEATURES is not None:
        return str(config.CPU_FEATURES)
    return str(get_host_cpu_features()) or binding.get_host_cpu_features().flatten()


TARGET = target_of(config.CPU_NAME, _features())
WIDTH, LANES = TARGET.width, TARGET.lanes
PACKS = TARGET in (AVX512, AVX2)
"""Bytes, and numbers of 32 bits, of a register, 0 where there are none; and whether there is ``keep_from``."""


class _Vector(types.Type):  # type: ignore[misc, unused-ignore]
    def __init__(self, name: str, element: ir.Type) -> None:
        self.element = element
        super().__init__(name)


class _Model(models.PrimitiveModel):  # type: ignore[misc, unused-ignore]
    def __init__(self, manager: Any, vector: _Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(vector.element, LANES))


register_model(_Vector)(_Model)
ints, floats = _Vector("vector of int32", I32), _Vector("vector of float32", F32)
tile = types.UniTuple(ints, max(LANES, 1))


class Writer:
    """Writes LLVM code for vectors of one target."""

    def __init__(self, builder: ir.IRBuilder, target: Target = TARGET) -> None:
        self.builder, self.target = builder, target

    @property
    def ints(self) -> ir.Type:
        """Registers of int32."""
        return ir.VectorType(I32, self.target.lanes)

    @property
    def floats(self) -> ir.Type:
        """Registers of float32."""
        return ir.VectorType(F32, self.target.lanes)

    @property
    def shorts(self) -> ir.Type:
        """Registers of int16."""
        return ir.VectorType(I16, self.target.width // 2)

    @property
    def bytes(self) -> ir.Type:
        """Registers of int8."""
        return ir.VectorType(I8, self.target.width)

    def filled(self, kind: ir.Type, value: int) -> ir.Value:
        """The same constant in every place."""
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)

    def splat(self, value: ir.Value, kind: ir.Type) -> ir.Value:
        """The same value in every place."""
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
        return self.builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, kind.count), None))

    def load(self, address: ir.Value, kind: ir.Type) -> ir.Value:
        """What is at an address."""
        loaded = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        loaded.align = 1
        return loaded

    def store(self, value: ir.Value, address: ir.Value) -> None:
        """Put something at an address."""
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer())).align = 1

    def load_same(self, address: ir.Value) -> ir.Value:
        """The four bytes at an address, in every lane."""
        return self.splat(self.load(address, I32), self.ints)

    def fields(self, packed: ir.Value, n_fields: int) -> list[ir.Value]:
        """A register of codes -> one of bytes for each field of theirs."""
        bits, levels = 8 // n_fields, []
        for field in range(n_fields):
            level = self.builder.lshr(packed, self.filled(self.bytes, field * bits)) if field else packed
            if field < n_fields - 1:
                level = self.builder.and_(level, self.filled(self.bytes, 2**bits - 1))
            levels.append(level)
        return levels

    def byte_products(self, sums: ir.Value, pairs: list[tuple[ir.Value, ir.Value]]) -> ir.Value:
        """``sums`` + in each lane the four products of unsigned and signed bytes, of each pair of registers.

        Unsigned bytes are at most 15, signed ones 127: products of up to eight pairs fit 16 bits, 8 · 2 · 15 · 127.
        """
        if self.target == AVX2:
            products = [
                self._call("llvm.x86.avx2.pmadd.ub.sw", self.shorts, [unsigned, signed]) for unsigned, signed in pairs
            ]
            while len(products) > 1:
                rest = products[len(products) // 2 * 2 :]
                products = [
                    self.builder.add(one, other) for one, other in zip(products[::2], products[1::2], strict=False)
                ] + rest
            return self.short_products(sums, products[0], self.filled(self.shorts, 1))
        others = ir.Constant(self.ints, None)  # two chains: each instruction waits for the one before it in its chain
        for number, (unsigned, signed) in enumerate(pairs):
            before = others if number % 2 else sums
            if self.target == AVX512:
                words = [self.builder.bitcast(register, self.ints) for register in (unsigned, signed)]
                after = self._call("llvm.x86.avx512.vpdpbusd.512", self.ints, [before, *words])
            else:
                after = self._call("llvm.aarch64.neon.sdot.v4i32.v16i8", self.ints, [before, unsigned, signed])
            sums, others = (sums, after) if number % 2 else (after, others)
        return self.builder.add(sums, others) if len(pairs) > 1 else sums

    def short_products(self, sums: ir.Value, some: ir.Value, others: ir.Value) -> ir.Value:
        """``sums`` + in each lane the two products of 16-bit integers."""
        if self.target == NEON:
            wide = ir.VectorType(I32, 2 * self.target.lanes)
            products = self.builder.mul(self.builder.sext(some, wide), self.builder.sext(others, wide))
            return self.builder.add(sums, self._pairs_added(products))
        name = {AVX512: "llvm.x86.avx512.pmaddw.d.512", AVX2: "llvm.x86.avx2.pmadd.wd"}[self.target]
        return self.builder.add(sums, self._call(name, self.ints, [some, others]))

    def _pairs_added(self, values: ir.Value) -> ir.Value:
        even, odd = range(0, values.type.count, 2), range(1, values.type.count, 2)
        return self.builder.add(self._shuffled(values, values, even), self._shuffled(values, values, odd))

    def row_sums(self, rows: list[ir.Value]) -> ir.Value:
        """As many registers as one has lanes -> one, with the sum of each: a tree that adds and transposes at once."""
        lanes = self.target.lanes
        blocks = range(0, lanes, 4)

        def added(first: ir.Value, second: ir.Value, low: list[int], high: list[int]) -> ir.Value:
            return self.builder.add(self._shuffled(first, second, low), self._shuffled(first, second, high))

        # Within blocks of four lanes: single lanes of two rows side by side, then pairs of lanes.
        ones = [o + k for o in blocks for k in (0, lanes, 1, lanes + 1)]
        twos = [o + k for o in blocks for k in (0, 1, lanes, lanes + 1)]
        for low, step in ((ones, 2), (twos, 2)):
            high = [place + step for place in low]
            rows = [added(rows[at], rows[at + 1], low, high) for at in range(0, len(rows), 2)]
        # Now a row has the sums of four rows in each block, to be added over blocks.
        if lanes == 16:
            halves = [o + k for o in (0, 16) for k in range(8)]
            rows = [
                added(rows[at], rows[at + 1], halves, [place + 8 for place in halves]) for at in range(0, len(rows), 2)
            ]
        if lanes >= 8:
            even = [o + k for o in range(0, 2 * lanes, 8) for k in range(4)]
            rows = [added(rows[0], rows[1], even, [place + 4 for place in even])]
        return rows[0]

    def count(self, chosen: ir.Value) -> ir.Value:
        """How many lanes are chosen, as an integer of a bit for each lane."""
        return self.builder.ctpop(self.builder.bitcast(chosen, ir.IntType(self.target.lanes)))

    def packed(self, chosen: ir.Value, *vectors: ir.Value) -> list[ir.Value]:
        """Registers of int32 with the chosen lanes moved to the front, in order; what follows may be anything."""
        if self.target == AVX512:
            nothing = ir.Constant(self.ints, None)
            name = "llvm.x86.avx512.mask.compress.v16i32"
            return [self._call(name, self.ints, [vector, nothing, chosen]) for vector in vectors]
        # A table tells for each pattern of chosen lanes which lanes they are, a byte a lane.
        word = ir.IntType(64)
        table = self._constant(
            "chosen_lanes", ir.ArrayType(word, 256), [_chosen_lanes(pattern) for pattern in range(256)]
        )
        pattern = self.builder.zext(self.builder.bitcast(chosen, I8), word)
        lanes = self.builder.load(self.builder.gep(table, [I32(0), pattern]))
        order = self.builder.zext(self.builder.bitcast(lanes, ir.VectorType(I8, 8)), self.ints)
        return [self._call("llvm.x86.avx2.permd", self.ints, [vector, order]) for vector in vectors]

    def _constant(self, name: str, kind: ir.Type, values: list[int]) -> ir.Value:
        module, name = self.builder.module, f"xtrkit_{name}"
        if name in module.globals:
            return module.get_global(name)
        constant = ir.GlobalVariable(module, kind, name)
        constant.global_constant, constant.linkage = True, "private"
        constant.initializer = ir.Constant(kind, values)
        return constant

    def _shuffled(self, first: ir.Value, second: ir.Value, places: Any) -> ir.Value:
        mask = ir.Constant(ir.VectorType(I32, len(places)), [ir.Constant(I32, place) for place in places])
        return self.builder.shuffle_vector(first, second, mask)

    def _call(self, name: str, result: ir.Type, arguments: list[ir.Value]) -> ir.Value:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(self.builder.module.declare_intrinsic(name, (), kind), arguments)


def _chosen_lanes(pattern: int) -> int:
    """The numbers of the bits that are set, from the lowest byte up."""
    chosen = [lane for lane in range(8) if pattern >> lane & 1]
    return sum(lane << 8 * place for place, lane in enumerate(chosen))


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def address_of(typing_context: Any, array: Any) -> Any:
    """Where a contiguous array's memory begins.

    Loops over registers work with addresses, in bytes: Numba counts references to arrays, with instructions that lock
    the memory, wherever a function takes one or a slice of one. Whoever holds an address holds the array too.

    Args:
        typing_context: given by Numba, not by the caller.
        array: the array.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def no_sums(typing_context: Any) -> Any:
    """A tile of zeros: a register of sums for each of :data:`LANES` rows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(tile), None)

    return tile(), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator, unused-ignore]
def add_code_products(
    typing_context: Any, sums: Any, codes: Any, stride: Any, query: Any, plane: Any, fields: Any
) -> Any:
    """Add the products of a register of bytes of codes of :data:`LANES` rows with a query token.

    Args:
        typing_context: given by Numba, not by the caller.
        sums: a tile.
        codes: address of the first row's bytes.
        stride: bytes from one row to the next.
        query: address of as many bytes of the plane of the first field.
        plane: bytes from one plane to the next.
        fields: of a byte, a literal: 2, 4 or 8.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (sums, codes, stride, query, plane, _), write, queries = arguments, Writer(builder), []
        for _ in range(fields.literal_value):
            queries.append(write.load(query, write.bytes))
            query = builder.add(query, plane)
        for row in range(LANES):
            levels = write.fields(write.load(codes, write.bytes), fields.literal_value)
            total = write.byte_products(builder.extract_value(sums, row), list(zip(levels, queries, strict=True)))
            sums = builder.insert_value(sums, total, row)
            codes = builder.add(codes, stride)
        return sums

    return tile(sums, types.intp, types.intp, types.intp, types.intp, fields), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator, unused-ignore]
def add_byte_products(typing_context: Any, sums: Any, rows: Any, stride: Any, query: Any, signed: Any) -> Any:
    """Add the products of half a register of bytes of :data:`LANES` rows with as many 16-bit integers of a query token.

    Args:
        typing_context: given by Numba, not by the caller.
        sums: a tile.
        rows: address of the first row's bytes.
        stride: bytes from one row to the next.
        query: address of the integers.
        signed: whether the bytes have a sign, a literal: 0 or 1.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (sums, rows, stride, query, _), write = arguments, Writer(builder)
        part, half = write.load(query, write.shorts), ir.VectorType(I8, WIDTH // 2)
        widened = builder.sext if signed.literal_value else builder.zext
        for row in range(LANES):
            values = widened(write.load(rows, half), write.shorts)
            total = write.short_products(builder.extract_value(sums, row), values, part)
            sums = builder.insert_value(sums, total, row)
            rows = builder.add(rows, stride)
        return sums

    return tile(sums, types.intp, types.intp, types.intp, signed), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def row_sums(typing_context: Any, sums: Any) -> Any:
    """The sum of each row of a tile, in order."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return Writer(builder).row_sums([builder.extract_value(arguments[0], row) for row in range(LANES)])

    return ints(sums), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator, unused-ignore]
def no_lanes(typing_context: Any, count: Any) -> Any:
    """Zeros for ``count`` registers of query tokens, a literal."""
    registers = types.UniTuple(ints, count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(registers), None)

    return registers(count), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator, unused-ignore]
def add_quads(typing_context: Any, sums: Any, levels: Any, queries: Any, stride: Any, count: Any) -> Any:
    """Add ``count`` times four products a lane: four levels of a document token, the same for each lane's query token.

    Args:
        typing_context: given by Numba, not by the caller.
        sums: registers of :func:`no_lanes`, a query token a lane.
        levels: address of bytes, none above 15.
        queries: address of as many registers with four bytes of every query token.
        stride: bytes from them to those of the next four.
        count: up to 8, a literal.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (registers, levels, queries, stride, _), write = arguments, Writer(builder)
        pairs: list[list[tuple[ir.Value, ir.Value]]] = [[] for _ in range(sums.count)]
        for _ in range(count.literal_value):
            same = builder.bitcast(write.load_same(levels), write.bytes)
            for place, of_register in enumerate(pairs):
                at = builder.add(queries, queries.type(place * WIDTH))
                of_register.append((same, write.load(at, write.bytes)))
            levels, queries = builder.add(levels, levels.type(4)), builder.add(queries, stride)
        for place, of_register in enumerate(pairs):
            total = write.byte_products(builder.extract_value(registers, place), of_register)
            registers = builder.insert_value(registers, total, place)
        return registers

    return sums(sums, types.intp, types.intp, types.intp, count), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator, unused-ignore]
def add_pairs(typing_context: Any, sums: Any, levels: Any, queries: Any, stride: Any, count: Any) -> Any:
    """Add ``count`` times two products a lane: two levels, the same for each lane's query token, all 16-bit integers.

    Args:
        typing_context: given by Numba, not by the caller.
        sums: registers of :func:`no_lanes`, a query token a lane.
        levels: address of 16-bit integers.
        queries: address of as many registers with two 16-bit integers of every query token.
        stride: bytes from them to those of the next two.
        count: a literal.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (registers, levels, queries, stride, _), write = arguments, Writer(builder)
        for _ in range(count.literal_value):
            same = builder.bitcast(write.load_same(levels), write.shorts)
            for place in range(sums.count):
                part = write.load(builder.add(queries, queries.type(place * WIDTH)), write.shorts)
                total = write.short_products(builder.extract_value(registers, place), same, part)
                registers = builder.insert_value(registers, total, place)
            levels, queries = builder.add(levels, levels.type(4)), builder.add(queries, stride)
        return registers

    return sums(sums, types.intp, types.intp, types.intp, count), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator, unused-ignore]
def unpack_codes(typing_context: Any, codes: Any, levels: Any, plane: Any, fields: Any) -> Any:
    """Unpack a register of bytes of codes, each field into a plane of bytes.

    Args:
        typing_context: given by Numba, not by the caller.
        codes: address of the codes.
        levels: address of where the first field's go.
        plane: bytes from one plane to the next.
        fields: of a byte, a literal: 2, 4 or 8.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (codes, levels, plane, _), write = arguments, Writer(builder)
        for field in write.fields(write.load(codes, write.bytes), fields.literal_value):
            write.store(field, levels)
            levels = builder.add(levels, plane)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, fields), generate


def _place(builder: Any, arguments: Any, kind: ir.Type) -> ir.Value:
    """Where the numbered element of an array at an address is."""
    address, number = arguments[:2]
    return builder.gep(builder.inttoptr(address, kind.as_pointer()), [number])


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def byte_at(typing_context: Any, address: Any, number: Any) -> Any:
    """One of the bytes from an address on, without a sign."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(builder, arguments, I8))

    return types.uint8(types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def small_at(typing_context: Any, address: Any, number: Any) -> Any:
    """One of the 8-bit integers from an address on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(builder, arguments, I8))

    return types.int8(types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def short_at(typing_context: Any, address: Any, number: Any) -> Any:
    """One of the 16-bit integers from an address on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(builder, arguments, I16))

    return types.int16(types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def half_bits_at(typing_context: Any, address: Any, number: Any) -> Any:
    """The bits of one of the float16 from an address on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(builder, arguments, I16))

    return types.uint16(types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def float_at(typing_context: Any, address: Any, number: Any) -> Any:
    """One of the float32 from an address on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_place(builder, arguments, F32))

    return types.float32(types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def put(typing_context: Any, address: Any, number: Any, value: Any) -> Any:
    """Make a value one of those of its type from an address on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _place(builder, arguments, arguments[2].type))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, value), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator, unused-ignore]
def widen_bytes(typing_context: Any, rows: Any, shorts: Any, signed: Any) -> Any:
    """Half a register of bytes -> as many 16-bit integers.

    Args:
        typing_context: given by Numba, not by the caller.
        rows: address of the bytes.
        shorts: address of where the integers go.
        signed: whether the bytes have a sign, a literal: 0 or 1.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write = Writer(builder)
        widened = builder.sext if signed.literal_value else builder.zext
        write.store(widened(write.load(arguments[0], ir.VectorType(I8, WIDTH // 2)), write.shorts), arguments[1])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, signed), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def splat(typing_context: Any, value: Any) -> Any:
    """A float32 in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write = Writer(builder)
        return write.splat(arguments[0], write.floats)

    return floats(types.float32), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def no_ints(typing_context: Any) -> Any:
    """Zeros."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(context.get_value_type(ints), None)

    return ints(), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def load(typing_context: Any, address: Any) -> Any:
    """:data:`LANES` float32 from an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write = Writer(builder)
        return write.load(arguments[0], write.floats)

    return floats(types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def load_halves(typing_context: Any, address: Any) -> Any:
    """:data:`LANES` float16 from an address, as floats that are 2^112 times too small."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write = Writer(builder)
        bits = builder.zext(write.load(arguments[0], ir.VectorType(I16, LANES)), write.ints)
        return builder.bitcast(builder.shl(bits, write.filled(write.ints, HALF_SHIFT)), write.floats)

    return floats(types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def store(typing_context: Any, address: Any, vector: Any) -> Any:
    """Put a register at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        Writer(builder).store(arguments[1], arguments[0])
        return context.get_dummy_value()

    return types.void(types.intp, vector), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def to_floats(typing_context: Any, vector: Any) -> Any:
    """Integers as floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], Writer(builder).floats)

    return floats(vector), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def plus(typing_context: Any, first: Any, second: Any) -> Any:
    """The sums of floats, lane by lane."""
    return floats(first, second), lambda context, builder, signature, arguments: builder.fadd(*arguments)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def minus(typing_context: Any, first: Any, second: Any) -> Any:
    """The differences of floats, lane by lane."""
    return floats(first, second), lambda context, builder, signature, arguments: builder.fsub(*arguments)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def times(typing_context: Any, first: Any, second: Any) -> Any:
    """The products of floats, lane by lane."""
    return floats(first, second), lambda context, builder, signature, arguments: builder.fmul(*arguments)


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def larger(typing_context: Any, first: Any, second: Any) -> Any:
    """The first where it is larger than the second, else the second, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return floats(first, second), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def smaller(typing_context: Any, first: Any, second: Any) -> Any:
    """The first where it is smaller than the second, else the second, lane by lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)

    return floats(first, second), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def lane(typing_context: Any, vector: Any, number: Any) -> Any:
    """One of a register's floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], builder.trunc(arguments[1], I32))

    return types.float32(vector, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def count_at_least(typing_context: Any, counts: Any, values: Any, border: Any) -> Any:
    """Counts that go up by one in each lane where a value is ``border`` or more."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counts, values, border = arguments
        return builder.sub(counts, builder.sext(builder.fcmp_ordered(">=", values, border), counts.type))

    return ints(counts, values, border), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def keep_from(typing_context: Any, border: Any, values: Any, numbers: Any, kept: Any, kept_numbers: Any) -> Any:
    """Of :data:`LANES` values, those that are ``border`` or more, with their numbers: written side by side.

    Args:
        typing_context: given by Numba, not by the caller.
        border: a register of it.
        values: address of the values, float32.
        numbers: address of their numbers, int32.
        kept: address that receives the values, a whole register, of which what counts comes first.
        kept_numbers: address that receives their numbers, alike.

    Returns:
        how many count.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        border, values, numbers, kept, kept_numbers = arguments
        write = Writer(builder)
        loaded = write.load(values, write.floats)
        reached = builder.fcmp_ordered(">=", loaded, border)
        both = builder.bitcast(loaded, write.ints), write.load(numbers, write.ints)
        for vector, target in zip(write.packed(reached, *both), (kept, kept_numbers), strict=True):
            write.store(vector, target)
        return builder.zext(write.count(reached), context.get_value_type(types.intp))

    return types.intp(border, types.intp, types.intp, types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator, unused-ignore]
def sum_of(typing_context: Any, vector: Any) -> Any:
    """The sum of a register's integers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total = builder.extract_element(arguments[0], I32(0))
        for lane in range(1, LANES):
            total = builder.add(total, builder.extract_element(arguments[0], I32(lane)))
        return total

    return types.int32(vector), generate
