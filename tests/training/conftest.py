"""Small things to train with."""

import json

import pytest
import torch

from xtrkit.encoding import load_encoder


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Threads of so small models only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def native(checkpoints):
    """A fresh late-interaction model that a test may train."""
    return load_encoder(checkpoints["native"]).model.train()


WORDS = ["the", "retrieval", "token", "late", "what", "is", "xtr", "strasse", "document"]


def sentence(number, length=5):
    """Some words and letters, another combination for each number."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join([WORDS[(number * (i + 3) + i) % len(WORDS)] for i in range(length)] + list(letters[number % 26]))


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


@pytest.fixture
def beir(tmp_path):
    """A BEIR folder of 40 documents, each with a query of its own words, and as many judgements."""
    folder = tmp_path / "beir"
    write_lines(folder / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": sentence(i, 7)} for i in range(40)])
    write_lines(folder / "queries.jsonl", [{"_id": f"q{i}", "text": sentence(i, 3)} for i in range(40)])
    header = "query-id\tcorpus-id\tscore"
    write_lines(folder / "qrels" / "train.tsv", [header, *(f"q{i}\td{i}\t1" for i in range(32))])
    write_lines(folder / "qrels" / "dev.tsv", [header, *(f"q{i}\td{i}\t1" for i in range(32, 40))])
    return folder
