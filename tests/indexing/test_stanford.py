"""Index directories as Stanford's ColBERT writes them, made by torch itself, become indexes with the same codes."""

import json
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from xtrkit.errors import IndexExistsError, IndexFormatError, InputError
from xtrkit.index import Index
from xtrkit.indexing.codec import BITS, BucketCodec
from xtrkit.indexing.store import Store
from xtrkit.indexing.torch_files import read_tensors
from xtrkit.kernels import reference_codes as twin
from xtrkit.passage import Passage

DIM, CENTROIDS = 32, 12
DOCLENS = [[3, 1, 5], [2, 2], [7]]


def write_stanford(folder, bits, seed=0):
    """The directory of systems like ColBERTv2, and the (M, d) vectors it stands for, passage after passage."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    rows = torch.nn.functional.normalize(torch.tensor(random.normal(size=(sum(map(sum, DOCLENS)), DIM))).float(), dim=1)
    centroids = torch.nn.functional.normalize(torch.tensor(random.normal(size=(CENTROIDS, DIM))).float(), dim=1).half()
    assigned = (rows @ centroids.float().T).argmax(dim=1)
    residuals = rows - centroids.float()[assigned]
    steps = torch.arange(2**bits) / 2**bits
    cutoffs, weights = residuals.quantile(steps[1:]), residuals.quantile(steps + 0.5 / 2**bits)
    buckets = torch.bucketize(residuals, cutoffs)
    emitted = (buckets.unsqueeze(-1) >> torch.arange(bits)) & 1  # least significant bit first
    packed = torch.tensor(np.packbits(emitted.reshape(len(rows), -1).numpy().astype(np.uint8), axis=1))
    config = {"dim": DIM, "nbits": bits}
    first = 0
    for number, doclens in enumerate(DOCLENS):
        part = slice(first, first + sum(doclens))
        torch.save(assigned[part].int(), folder / f"{number}.codes.pt")
        torch.save(packed[part], folder / f"{number}.residuals.pt")
        (folder / f"doclens.{number}.json").write_text(json.dumps(doclens))
        facts = {"num_passages": len(doclens), "num_embeddings": sum(doclens), "embedding_offset": first}
        (folder / f"{number}.metadata.json").write_text(json.dumps(facts))
        first += sum(doclens)
    torch.save(centroids, folder / "centroids.pt")
    torch.save((cutoffs, weights), folder / "buckets.pt")
    torch.save(residuals.abs().mean(), folder / "avg_residual.pt")
    inverted = torch.sort(assigned)
    torch.save((inverted.indices.int(), torch.bincount(assigned, minlength=CENTROIDS)), folder / "ivf.pid.pt")
    facts = {"config": config, "num_chunks": len(DOCLENS), "num_partitions": CENTROIDS, "num_embeddings": len(rows)}
    (folder / "metadata.json").write_text(json.dumps(facts))
    (folder / "plan.json").write_text(json.dumps(facts))
    decompressed = torch.nn.functional.normalize(centroids.float()[assigned] + weights[buckets], dim=1)
    return assigned.numpy(), packed.numpy(), decompressed.numpy()


@pytest.mark.parametrize("bits", BITS)
def test_codes_stay_and_vectors_are_those_of_stanford(tmp_path, bits):
    """Oracles 9 and 11: the same bytes, sorted by centroid and passage, sizes that add up, and nothing lost."""
    assigned, packed, expected = write_stanford(tmp_path / "stanford", bits)
    index = Index.from_stanford(tmp_path / "idx", tmp_path / "stanford")
    lengths = np.concatenate(DOCLENS)
    assert (len(index), index.n_tokens, index.dim) == (len(lengths), lengths.sum(), DIM)
    tokens = Store.open(tmp_path / "idx").segments[0].tokens
    assert isinstance(tokens.quantiser.codec, BucketCodec)
    assert (tokens.codes[tokens.positions] == packed).all()
    cluster_of = np.searchsorted(tokens.cluster_offsets, tokens.positions, side="right") - 1
    assert np.diff(tokens.cluster_offsets).sum() == index.n_tokens
    assert sorted(np.diff(tokens.cluster_offsets)) == sorted(np.bincount(assigned, minlength=CENTROIDS))
    assert len(set(zip(cluster_of.tolist(), assigned.tolist(), strict=True))) == len(set(assigned.tolist()))
    assert (twin.stanford_buckets(tokens.codes[tokens.positions], bits) == twin.stanford_buckets(packed, bits)).all()
    vectors = np.concatenate([index.vectors(number) for number in range(len(index))])
    np.testing.assert_allclose(vectors, expected, atol=4e-3)  # centroids are int8 here


def test_it_is_searched(tmp_path):
    _, _, expected = write_stanford(tmp_path / "stanford", 4)
    passages = [Passage(f"p{number}", f"text {number}") for number in range(6)]
    index = Index.from_stanford(tmp_path / "idx", tmp_path / "stanford", passages=passages)
    ends = np.cumsum(np.concatenate(DOCLENS))
    for number, (last, length) in enumerate(zip(ends, np.concatenate(DOCLENS), strict=True)):
        query = expected[last - length : last]
        for scoring in ("xtr", "maxsim"):
            ranking = index.search(query, k=6, scoring=scoring, nprobe=CENTROIDS, k_prime=100)
            assert ranking.ids[0] == f"p{number}"
            assert ranking.scores[0] == pytest.approx(1 if scoring == "xtr" else length, rel=0.01)
    assert index.passage(2) == Passage("p2", "text 2")


def test_passages_that_do_not_fit(tmp_path):
    write_stanford(tmp_path / "stanford", 2)
    for n, message in ((5, "fewer passages than the 6"), (7, "more passages than the 6")):
        with pytest.raises(InputError, match=message):
            Index.from_stanford(tmp_path / "idx", tmp_path / "stanford", passages=[Passage(str(i)) for i in range(n)])
    assert [path.name for path in tmp_path.iterdir()] == ["stanford"]
    (tmp_path / "idx").mkdir()
    with pytest.raises(IndexExistsError, match="exists already"):
        Index.from_stanford(tmp_path / "idx", tmp_path / "stanford")


def save(name, value):
    return lambda folder: torch.save(value, folder / name)


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def facts(**changes):
    return json.dumps({"config": {"dim": DIM, "nbits": 2}, "num_chunks": 3} | changes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "metadata.json").unlink(), r"There is no metadata.json in .*: expected an index"),
        (write("metadata.json", "{"), r"metadata.json is damaged"),
        (write("metadata.json", "{}"), r"metadata.json is damaged \(KeyError\('config'\)\)"),
        (write("metadata.json", facts(config={"dim": DIM, "nbits": 3})), r"nbits must be 1, 2, 4 or 8, got 3"),
        (write("metadata.json", facts(config={"dim": 16, "nbits": 2})), r"centroids.pt is damaged \(shape \(12, 32\)"),
        (write("metadata.json", facts(num_chunks=4)), r"3.codes.pt is no file of tensors that can be read"),
        (save("buckets.pt", (torch.zeros(2), torch.zeros(4))), r"Buckets of 2 bits need 3 cutoffs"),
        (save("buckets.pt", (torch.zeros(3), torch.full((4,), torch.nan))), r"numbers that are not finite"),
        (save("1.codes.pt", torch.tensor([0, 1, 2, 12]).int()), r"1.codes.pt is damaged \(it names centroids"),
        (save("1.codes.pt", torch.zeros(5).int()), r"1.residuals.pt is damaged"),
        (save("1.residuals.pt", torch.zeros(4, 9).byte()), r"1.residuals.pt is damaged \(shape \(4, 9\)"),
        (write("doclens.1.json", "[1, 1]"), r"doclens.1.json is damaged \(it does not add up to 4 tokens\)"),
        (write("doclens.1.json", "[4, 0]"), r"doclens.1.json is damaged"),
        (write("0.codes.pt", "no archive"), r"0.codes.pt is no file of tensors"),
    ],
)
def test_damage_is_told_and_nothing_is_left(tmp_path, damage, message):
    write_stanford(tmp_path / "stanford", 2)
    damage(tmp_path / "stanford")
    with pytest.raises(IndexFormatError, match=message):
        Index.from_stanford(tmp_path / "idx", tmp_path / "stanford")
    assert [path.name for path in tmp_path.iterdir()] == ["stanford"]


@pytest.mark.parametrize(
    "dtype", [torch.half, torch.float, torch.double, torch.uint8, torch.int8, torch.int, torch.long]
)
def test_tensors_are_read_as_torch_wrote_them(tmp_path, dtype):
    whole = torch.arange(24).to(dtype).reshape(4, 6)
    saved = (whole, [whole.T, whole[1:3, ::2]], torch.tensor(3).to(dtype), torch.zeros(0, 3).to(dtype))
    torch.save(saved, tmp_path / "tensors.pt")
    first, (transposed, part), number, empty = read_tensors(tmp_path / "tensors.pt")
    for array, tensor in ((first, whole), (transposed, whole.T), (part, whole[1:3, ::2]), (number, saved[2])):
        np.testing.assert_array_equal(array, tensor.numpy())
        assert array.dtype == tensor.numpy().dtype
    assert empty.shape == (0, 3)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran code of the file')",))


def test_code_in_a_file_is_not_run(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w") as archive:
        archive.writestr("bomb/data.pkl", pickle.dumps(Bomb()))
    with pytest.raises(IndexFormatError, match=r"it asks for builtins.exec, which is no tensor"):
        read_tensors(tmp_path / "bomb.pt")


def test_tensors_beyond_their_storage(tmp_path):
    torch.save(torch.zeros(8), tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "cut.pt", "w") as cut:
        for name in whole.namelist():
            data = whole.read(name)
            cut.writestr(name, data[:8] if name.endswith("data/0") else data)
    with pytest.raises(IndexFormatError, match="has 2 numbers instead of 8"):
        read_tensors(tmp_path / "cut.pt")


def test_from_the_command_line_without_torch(tmp_path):
    write_stanford(tmp_path / "stanford", 2)
    (tmp_path / "collection.tsv").write_text("".join(f"{number}\ttext {number}\n" for number in range(6)))
    code = "import sys; sys.modules['torch'] = None; from xtrkit.cli import main; main()"
    command = ["import", tmp_path / "stanford", tmp_path / "idx", "--collection", tmp_path / "collection.tsv"]
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "Imported 6 passages (20 tokens, 2 bits" in ran.stdout
    assert Index.open(tmp_path / "idx").passage(5) == Passage("5", "text 5")
