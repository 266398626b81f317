"""Encoding queries and passages: torch as sentence-transformers runs it, and what ``xtrkit export`` makes of the model.

    python benchmarks/encoding.py [MODEL | t5-base] [--passages 48] [--rounds 5] [--only "onnx int8" ...]

MODEL is all-MiniLM-L6-v2 where none is given; ``t5-base`` is XTR's architecture at the size of T5 base with random
weights, whose costs are those of the real ones. Everything runs on one thread and is told in CPU time, which other
work on the machine disturbs least: the median of a query, alone; passages a second, one by one and batched by length.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from tokenizers import Tokenizer, processors
from transformers import T5Config, T5EncoderModel

from xtrkit.demo import standard_library_passages
from xtrkit.encoding import load_encoder
from xtrkit.encoding.default import MINI, MINI_DIRECTORY, ORIGINAL
from xtrkit.encoding.export import export

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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=ORIGINAL)
    parser.add_argument("--passages", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="such as 'onnx int8'")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    texts = sorted((passage.text for passage in standard_library_passages()), key=len)
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
