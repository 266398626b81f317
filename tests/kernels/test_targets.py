"""Kernels on other processors: what they are made of, that they compute the same, and what machine code they become."""

import ctypes
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding, ir

from tests.conftest import ROOT
from tests.kernels import targets
from xtrkit.kernels.vectors import AVX2, AVX512, F32, I8, I16, I32, NEON, PORTABLE, TARGET, Writer, target_of

I64 = ir.IntType(64)
WITH_AVX512 = "+sse4.2,+avx,+avx2,+fma,+avx512f,+avx512bw,+avx512vl,+avx512vnni"


@pytest.mark.parametrize(
    ("cpu", "features", "expected"),
    [
        (None, WITH_AVX512, AVX512),
        ("cascadelake", WITH_AVX512, AVX512),
        ("haswell", WITH_AVX512, AVX2),  # the features stay the machine's
        ("znver3", WITH_AVX512, AVX2),
        (None, WITH_AVX512.replace("+avx512vnni", "-avx512vnni"), AVX2),
        (None, WITH_AVX512.replace("+avx512bw", "-avx512bw"), AVX2),
        (None, "+avx,+avx2", AVX2),
        (None, "+avx,-avx2", PORTABLE),
        (None, "+avx,+avx2x,-avx512f", PORTABLE),
        ("generic", "", PORTABLE),
        (None, "+neon,+dotprod,+fullfp16", NEON),
        (None, "+neon,-dotprod", PORTABLE),
    ],
)
def test_targets_by_features(cpu, features, expected):
    assert target_of(cpu, features) == expected


def computed(tmp_path, *arguments, **environment):
    """What a process with machine code of its own computes."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.kernels.targets", *arguments],
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "NUMBA_CACHE_DIR": str(tmp_path / "-".join(["cache", *environment.values()])), **environment,
        },
        capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    return told["target"], told["digests"]


def has_avx2():
    return "+avx2" in binding.get_host_cpu_features().flatten().split(",")


def of_processor(name):
    """The target that a processor named so for Numba has, on this machine."""
    if name == "generic":
        return "portable"
    return "avx2" if has_avx2() else TARGET.name


def test_plain_loops_compute_what_registers_compute(tmp_path):
    """Of codes as they are by default; every kind and the searches are in the slow test."""
    target, found = computed(tmp_path, "grid-4", NUMBA_CPU_NAME="generic")
    assert target == "portable"
    assert found == {"grid-4": targets.digests(("grid", 4))}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["haswell", "generic"])
def test_every_target_computes_the_same(tmp_path, name):
    _, expected = computed(tmp_path, "--searches")
    target, found = computed(tmp_path, "--searches", NUMBA_CPU_NAME=name)
    assert target == of_processor(name)
    assert found == expected


needs_protection = pytest.mark.skipif(sys.platform == "win32", reason="memory is protected in another way")


@needs_protection
def test_nothing_is_touched_beyond_what_kernels_are_given():
    check_borders("grid-1", "grid-4", "buckets-4")


@needs_protection
@pytest.mark.slow
def test_nothing_is_touched_beyond_what_kernels_are_given_of_any_kind():
    check_borders()


def check_borders(*storages):
    code = "import sys; from tests.kernels import targets; targets.main(sys.argv[1:])"
    said = [
        subprocess.run(
            [sys.executable, "-c", code, *storages, *place], cwd=ROOT, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}, timeout=1200,
        )
        for place in (["--at-border"], [])
    ]  # fmt: skip
    assert said[0].returncode == 0, said[0].stderr
    assert said[0].stdout == said[1].stdout


@needs_protection
def test_a_byte_beyond_would_be_noticed():
    code = """
import numpy as np
from numba import njit
from tests.kernels.targets import at_border
from xtrkit.kernels.vectors import address_of, byte_at
@njit
def beyond(array, place):
    return byte_at(address_of(array), place)
values = at_border(np.arange(5000, dtype=np.uint8).reshape(50, 100))
print(beyond(values, 4999), flush=True)
print(beyond(values, 5000), flush=True)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
    )  # fmt: skip
    assert (ran.stdout, ran.returncode < 0) == ("135\n", True)


# Machine code of other processors: LLVM writes it anywhere.

TRIPLES = {
    AVX512: ("x86_64-unknown-linux-gnu", "cascadelake", ""),
    AVX2: ("x86_64-unknown-linux-gnu", "haswell", ""),
    NEON: ("aarch64-unknown-linux-gnu", "generic", "+neon,+dotprod"),
}
EXPECTED = {
    AVX512: {
        "byte_products": r"vpdpbusd\s.*zmm",
        "short_products": r"(?:vpmaddwd|vpdpwssd)\s.*zmm",
        "packed": r"vpcompressd\s.*zmm",
    },
    AVX2: {"byte_products": r"vpmaddubsw\s.*ymm", "short_products": r"vpmaddwd\s.*ymm", "packed": r"vpermd\s.*ymm"},
    NEON: {"byte_products": r"sdot\s+v\d+\.4s", "short_products": r"smull2?\s|addp\s"},
}


def written(target, operation, triple):
    """LLVM code of a function (in, out) that does an operation to what is at an address."""
    module = ir.Module(name=operation)
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64, I64]), operation)
    builder = ir.IRBuilder(function.append_basic_block())
    write, (source, sink) = Writer(builder, target), function.args

    def at(number, kind):
        return write.load(builder.add(source, I64(number * target.width)), kind)

    found = {
        "byte_products": lambda: [
            write.byte_products(
                at(0, write.ints), [(at(k, write.bytes), at(k + 1, write.bytes)) for k in range(1, 17, 2)]
            )
        ],
        "short_products": lambda: [write.short_products(at(0, write.ints), at(1, write.shorts), at(2, write.shorts))],
        "row_sums": lambda: [write.row_sums([at(row, write.ints) for row in range(target.lanes)])],
        "fields": lambda: write.fields(at(0, write.bytes), 2) + write.fields(at(0, write.bytes), 8),
        "splat": lambda: [write.splat(write.load(source, F32), write.floats), write.load_same(source)],
        "load_and_store": lambda: [
            at(0, write.floats), at(1, ir.VectorType(I8, target.width // 2)), at(2, ir.VectorType(I16, target.lanes))
        ],
        "packed": lambda: write.packed(
            builder.fcmp_ordered(">=", at(0, write.floats), at(1, write.floats)), at(2, write.ints), at(3, write.ints)
        ),
    }[operation]()  # fmt: skip
    for number, value in enumerate(found):
        write.store(value, builder.add(sink, I64(number * target.width)))
    builder.ret_void()
    return str(module)


def assembly_of(target, code):
    """The machine code that LLVM makes of it for a processor of the target."""
    triple, cpu, features = TRIPLES[target]
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        known = binding.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(f"LLVM was built without it: {error}")
    module = binding.parse_assembly(code)
    module.verify()
    return known.create_target_machine(cpu=cpu, features=features, opt=3).emit_assembly(module)


OPERATIONS = ["byte_products", "short_products", "row_sums", "fields", "splat", "load_and_store", "packed"]


@pytest.mark.parametrize(
    ("target", "operation"),
    [(target, name) for target in TRIPLES for name in OPERATIONS if (target, name) != (NEON, "packed")],
    ids=lambda part: getattr(part, "name", part),
)
def test_operations_become_the_instructions_that_they_are_for(target, operation):
    assembly = assembly_of(target, written(target, operation, TRIPLES[target][0]))
    if operation in EXPECTED[target]:
        assert re.search(EXPECTED[target][operation], assembly), assembly
    calls = re.findall(r"^\s+(?:callq?|jmpq?|bl|b)\s+(\S+)", assembly, flags=re.MULTILINE)
    assert not calls, assembly
    # Whole registers go in and out: nothing is taken apart into numbers.
    apart = r"\s(?:vpextr[bwdq]|vpinsr[bwdq]|umov|smov)\s"
    assert len(re.findall(apart, assembly)) <= 1, assembly


# What these operations mean: as instructions of other processors can't be run, LLVM is told what they do.


def told(name, target):
    """LLVM code of a function that does what an instruction does, lane by lane."""
    module, write = ir.Module(), Writer(ir.IRBuilder(), target)
    if name.endswith("compress.v16i32"):
        kinds = [write.ints, write.ints, ir.VectorType(ir.IntType(1), target.lanes)]
    elif name.endswith("sdot.v4i32.v16i8"):
        kinds = [write.ints, write.bytes, write.bytes]
    else:
        kinds = [write.ints] * (2 if "pmaddw" in name else 3)
        kinds = [write.shorts] * 2 if "pmaddw" in name else kinds
    function = ir.Function(module, ir.FunctionType(write.ints, kinds), "told")
    builder = ir.IRBuilder(function.append_basic_block())
    if name.endswith("compress.v16i32"):
        vector, _, chosen = function.args
        room, place = builder.alloca(I32, target.lanes), I32(0)
        for lane in range(target.lanes):
            builder.store(builder.extract_element(vector, I32(lane)), builder.gep(room, [place]))
            place = builder.add(place, builder.zext(builder.extract_element(chosen, I32(lane)), I32))
        found = builder.load(builder.bitcast(room, write.ints.as_pointer()))
        found.align = 4
        builder.ret(found)
        return str(function)
    sums, (some, others), width = ir.Constant(write.ints, None), function.args[-2:], 2
    if len(kinds) == 3:
        sums, width = function.args[0], 4
        some, others = builder.bitcast(some, write.bytes), builder.bitcast(others, write.bytes)
    wide = ir.VectorType(I32, some.type.count)
    first = builder.zext(some, wide) if "busd" in name else builder.sext(some, wide)
    products = builder.mul(first, builder.sext(others, wide))
    for lane in range(target.lanes):
        total = builder.extract_element(sums, I32(lane))
        for part in range(width):
            total = builder.add(total, builder.extract_element(products, I32(width * lane + part)))
        sums = builder.insert_element(sums, total, I32(lane))
    builder.ret(sums)
    return str(function)


def run(target, operation, source, count):
    """What an operation makes of (K, width) bytes: ``count`` registers."""
    code = written(target, operation, binding.get_process_triple())
    foreign = None if target == AVX2 else re.search(r'declare .*@"(llvm\.(?:x86|aarch64)[^"]*)"', code)
    if foreign:
        code = code.replace(foreign[0], "declare void @nobody").replace(f'@"{foreign[1]}"', '@"told"')
        code = re.sub(r"^declare void @nobody.*$", "", code, flags=re.MULTILINE) + told(foreign[1], target)
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(code)
    module.verify()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten(), jit=True
    )
    sink = np.zeros((count, target.width), np.uint8)
    with binding.create_mcjit_compiler(module, machine) as engine:
        engine.finalize_object()
        call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(engine.get_function_address(operation))
        call(source.ctypes.data, sink.ctypes.data)
    return sink


def meant(target, operation, source):
    """The same in NumPy."""
    ints = source.view(np.int32)
    if operation == "byte_products":
        total = ints[0].astype(np.int64)
        for k in range(8):
            products = source[1 + 2 * k].astype(np.int64) * source[2 + 2 * k].view(np.int8)
            total = total + products.reshape(-1, 4).sum(axis=1)
        return [total.astype(np.int32)]
    if operation == "short_products":
        products = source[1].view(np.int16).astype(np.int64) * source[2].view(np.int16)
        return [(ints[0] + products.reshape(-1, 2).sum(axis=1)).astype(np.int32)]
    if operation == "row_sums":
        return [ints[: target.lanes].sum(axis=1, dtype=np.int64).astype(np.int32)]
    if operation == "splat":
        return [np.repeat(ints[0, :1], target.lanes)] * 2
    return [source[0] & 15, source[0] >> 4, *(source[0] >> bit & 1 for bit in range(8))]


@pytest.mark.parametrize("operation", ["byte_products", "short_products", "row_sums", "splat", "fields", "packed"])
@pytest.mark.parametrize("target", TRIPLES, ids=lambda target: target.name)
def test_operations_mean_what_they_say(target, operation):
    if target == AVX2 and not has_avx2():
        pytest.skip("only a processor with AVX2 runs its instructions")
    if (target, operation) == (NEON, "packed"):
        return
    for seed in range(5):
        random = np.random.default_rng(seed)
        source = random.integers(0, 256, (17, target.width), dtype=np.uint8)
        if operation == "byte_products":  # codes of up to 4 bits, and integers of a query
            source[1::2] &= 15
            source[2::2] = np.maximum(source[2::2].view(np.int8), -127).view(np.uint8)
            if seed == 0:  # the largest, whose sums of 16 bits must not overflow
                source[1::2], source[2::2] = 15, 127
            source[0].view(np.int32)[:] //= 2
        elif operation == "short_products":
            source[:3].view(np.int16)[:] = random.integers(-32767, 32768, (3, target.width // 2))
            source[0].view(np.int32)[:] = random.integers(-9, 9, target.lanes)
            source[1].view(np.int16)[:] //= 16
        elif operation == "row_sums":
            source.view(np.int32)[:] //= 64
        elif operation == "packed":
            source[:2].view(np.float32)[:] = random.normal(size=(2, target.lanes))
            reached = source[0].view(np.float32) >= source[1].view(np.float32)
            found = run(target, operation, source, 2).view(np.int32)
            for vector, kept in zip(source[2:4].view(np.int32), found, strict=True):
                assert kept[: reached.sum()].tolist() == vector[reached].tolist()
            continue
        expected = [np.asarray(part).view(np.uint8) for part in meant(target, operation, source)]
        found = run(target, operation, source, len(expected))
        np.testing.assert_array_equal(found, np.array(expected))
