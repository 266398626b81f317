"""Encoding queries and passages: torch as sentence-transformers runs it, and what ``xtrkit export`` makes of the model.

    python benchmarks/encoding.py [MODEL | t5-base] [--passages 48] [--rounds 5] [--only "onnx int8" ...]
    python benchmarks/encoding.py runtimes [--rounds 5]
    python benchmarks/encoding.py workers [--passages 600]

MODEL is all-MiniLM-L6-v2 where none is given; ``t5-base`` is XTR's architecture at the size of T5 base with random
weights, whose costs are those of the real ones. Everything runs on one thread and is told in CPU time, which other
work on the machine disturbs least: the median of a query, alone; passages a second, one by one and batched by length.

``runtimes`` compares what can encode the documents of the default model (``load_encoder(runtime=…)``, and torch from
the same weights): tokens a CPU second on passages of some lengths, the least of some rounds in turn, and how far the
vectors of tokens are from those in full precision. ``workers`` encodes on all cores, in one process and in several.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from tokenizers import Tokenizer, processors
from transformers import T5Config, T5EncoderModel

from xtrkit.demo import standard_library_passages
from xtrkit.encoding import load_encoder
from xtrkit.encoding.default import MINI, MINI_DIRECTORY, ORIGINAL
from xtrkit.encoding.export import export
from xtrkit.encoding.export_samples import agreement
from xtrkit.encoding.worker_pool import in_processes
from xtrkit.machine import usable_cores

QUERIES = (
    "how do I merge two sorted lists without copying them",
    "count how often each word occurs in a list",
    "run another program and read what it prints",
    "what is the difference between a process and a thread",
    "effects of statins on mortality in adults over 75",
    "who wrote it?",
    "capital of France",
    "what is the boiling point of water at 3,000 m",
)
EXPORTS = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))


def write_t5_base(directory):
    """google/xtr-base-en's layout and size, with random weights, and a tokenizer whose numbers its table has."""
    torch.manual_seed(0)
    sizes = {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "vocab_size": 32128}
    T5EncoderModel(T5Config(**sizes, feed_forward_proj="gated-gelu")).save_pretrained(directory)
    tokenizer = Tokenizer.from_file(str(MINI_DIRECTORY / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 102)])
    tokenizer.save(str(directory / "tokenizer.json"))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[SEP]"}
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "TokenizersBackend", **names}))
    (directory / "2_Dense").mkdir()
    shape = {"in_features": 768, "out_features": 128, "bias": False}
    identity = {"activation_function": "torch.nn.modules.linear.Identity"}
    (directory / "2_Dense" / "config.json").write_text(json.dumps(shape | identity))
    save_file({"linear.weight": torch.randn(128, 768) / 28}, directory / "2_Dense" / "model.safetensors")
    return directory


def cpu_seconds(function):
    begin = time.process_time()
    function()
    return time.process_time() - begin


class AsSentenceTransformers:
    """The same modules, called as a user of sentence-transformers does."""

    def __init__(self, model):
        self.model = model

    def encode_queries(self, texts):
        """A list of arrays."""
        return self.model.encode_query(list(texts), convert_to_numpy=True, show_progress_bar=False)

    def encode_documents(self, texts, batch_size=32):
        """A list of arrays."""
        return self.model.encode_document(
            list(texts), convert_to_numpy=True, show_progress_bar=False, batch_size=batch_size
        )


def measure(encoder, passages, rounds):
    """Median milliseconds of a query, and passages a second one by one and batched."""
    for query in QUERIES:
        encoder.encode_queries([query])
    queries = [cpu_seconds(lambda text=query: encoder.encode_queries([text])) for query in QUERIES * rounds]
    single = cpu_seconds(lambda: [encoder.encode_documents([text]) for text in passages])
    batched = min(cpu_seconds(lambda: encoder.encode_documents(passages)) for _ in range(2))
    return 1e3 * statistics.median(queries), len(passages) / single, len(passages) / batched


LENGTHS = {331: 3, 174: 6, 64: 16}
"""Tokens of a passage, and how many passages of that length are encoded together: about 1,000 tokens."""


def cut_to(encoder, texts, length, count):
    """Passages of so many tokens, of texts one after the other."""
    words, passages = " ".join(texts).split(), []
    while len(passages) < count:
        tokens = encoder.document_tokens(" ".join(words[: 2 * length]))
        passage = " ".join(words[: 2 * length])[: tokens[length - 2].end]
        passages.append(passage)
        words = words[len(passage.split()) :]
    return passages


def compare_runtimes(texts, rounds):
    ways = {
        "onnx, as exported": load_encoder(threads=1, runtime="onnx"),
        "onnx-fp32": load_encoder(threads=1, runtime="onnx-fp32"),
        "openvino": load_encoder(threads=1, runtime="openvino"),
        "torch, fp32": load_encoder(device="cpu:0"),
    }
    reference = ways["onnx-fp32"]
    given = {length: cut_to(reference, texts, length, count) for length, count in LENGTHS.items()}
    right = {length: reference.encode_documents(passages) for length, passages in given.items()}
    best = dict.fromkeys([(name, length) for name in ways for length in given], float("inf"))
    cosines = {name: [] for name in ways}
    for name, encoder in ways.items():
        for length, passages in given.items():
            cosines[name].append(agreement(encoder.encode_documents(passages).rows, right[length].rows))
    for _ in range(rounds):
        for name, length in best:
            taken = cpu_seconds(lambda encoder=ways[name], some=given[length]: encoder.encode_documents(some))
            best[name, length] = min(best[name, length], taken)
    header = "".join(f"{f'{right[length].lengths.mean():.0f} tokens':>12}" for length in given)
    print(f"{'':20} {header}{'cosine ≥':>10}{'mean':>9}")
    for name in ways:
        speeds = "".join(f"{len(right[length].rows) / best[name, length]:>12,.0f}" for length in given)
        all_of_it = np.concatenate(cosines[name])
        print(f"{name:20} {speeds}{all_of_it.min():>10.4f}{all_of_it.mean():>9.5f}", flush=True)


def compare_workers(texts, count):
    passages = cut_to(load_encoder(), texts, 174, count)
    for workers in (1, 2, 4, 8, 16):
        if workers > 2 * usable_cores():
            break
        with in_processes(load_encoder(), workers) as encoder:
            for _ in encoder.stream_documents(passages[: 4 * workers], chunk_size=4):
                pass  # models are loaded, and first batches behind us
            begin = time.perf_counter()
            tokens = sum(len(chunk.embeddings.rows) for chunk in encoder.stream_documents(passages, chunk_size=32))
            seconds = time.perf_counter() - begin
        speed = f"{count / seconds:.1f} passages a second, {tokens / seconds:,.0f} tokens"
        print(f"{workers} processes on {usable_cores()} cores: {speed}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=ORIGINAL)
    parser.add_argument("--passages", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="such as 'onnx int8'")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    texts = sorted((passage.text for passage in standard_library_passages()), key=len)
    if chosen.model == "runtimes":
        compare_runtimes(texts, chosen.rounds)
        return
    if chosen.model == "workers":
        compare_workers(texts, chosen.passages)
        return
    passages = texts[:: max(1, len(texts) // chosen.passages)][: chosen.passages]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = write_t5_base(place / "t5-base") if chosen.model == "t5-base" else chosen.model
        original = load_encoder(model, device="cpu")
        assert isinstance(original.model, MultiVectorEncoder)
        tokens = original.encode_documents(passages).lengths
        print(f"{chosen.model}: {len(passages)} passages of {tokens.mean():.0f} tokens on average")
        print(f"{'':24} {'MB':>5} {'cosine ≥':>9} {'ms a query':>11} {'ratio':>6} {'passages/s':>11} {'batched':>8}")
        base = measure(AsSentenceTransformers(original.model), passages, chosen.rounds)
        show("sentence-transformers", None, None, base, base)
        show("xtrkit, torch", None, None, measure(original, passages, chosen.rounds), base)
        if chosen.model == ORIGINAL:
            show(MINI, 25, None, measure(load_encoder(MINI, threads=1), passages, chosen.rounds), base)
        for runtime, precision in EXPORTS:
            if chosen.only and f"{runtime} {precision}" not in chosen.only:
                continue
            path = place / f"{runtime}-{precision}"
            done = export(model, path, runtime=runtime, precision=precision)
            found = measure(load_encoder(path, threads=1), passages, chosen.rounds)
            show(f"xtrkit, {runtime} {precision}", done.size / 1e6, done.lowest_cosine, found, base)


def show(name, megabytes, cosine, found, base):
    query, single, batched = found
    size = "" if megabytes is None else f"{megabytes:.0f}"
    close = "" if cosine is None else f"{cosine:.4f}"
    print(
        f"{name:24} {size:>5} {close:>9} {query:>11.2f} {base[0] / query:>6.1f} {single:>11.1f} {batched:>8.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
