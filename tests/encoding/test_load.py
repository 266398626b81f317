"""Finding a checkpoint by name; what is missing is said in one sentence."""

import logging
import subprocess
import sys

import huggingface_hub
import pytest
from transformers.utils import logging as transformers_logging

from xtrkit.encoding import default, load_encoder
from xtrkit.errors import MissingExtraError, ModelError


def test_a_name_that_is_nowhere(monkeypatch):
    def unreachable(name, **options):
        raise OSError("Got: ConnectError.\nPlease check your connection.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ModelError) as caught:
        load_encoder("google/xtr-base-en")
    assert str(caught.value) == (
        "'google/xtr-base-en' is neither a directory nor a model that the Hugging Face hub or its local cache could "
        "give (Got: ConnectError): check the spelling or, offline, pass the directory of a checkpoint that you have."
    )


@pytest.mark.parametrize("name", ["minilm", "/no/such/directory", "../models/xtr", "a/b/c"])
def test_a_path_that_is_nowhere_never_asks_the_hub(monkeypatch, name):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(ModelError, match=r"neither a directory nor a model .* doesn't look like an owner/model name"):
        load_encoder(name)


def test_a_hub_model(monkeypatch, checkpoints, encoders):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(checkpoints["xtr"]))
    identity = load_encoder("google/xtr-base-en").identity
    assert identity.name == "google/xtr-base-en"
    assert identity.fingerprint == encoders["xtr"].identity.fingerprint


def test_default_weights_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(default, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r'pip install "xtrkit\[torch\]"'):
        load_encoder()


@pytest.mark.parametrize("package", ["torch", "sentence_transformers"])
def test_without_torch(package):
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from xtrkit.encoding import load_encoder\n"
        "from xtrkit.errors import MissingExtraError\n"
        "try: load_encoder()\n"
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
