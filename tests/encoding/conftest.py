import pytest
import torch

from tests.encoding import checkpoint_factory as factory
from xtrkit.encoding import load_encoder


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Threads of so small models only wait for one another, for long where the machine has other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Each layout's directory; tests that change something work on a copy."""
    root = tmp_path_factory.mktemp("checkpoints")
    found = {
        "xtr": factory.write_xtr(root / "xtr"),
        "mxtr": factory.write_xtr(root / "mxtr", multilingual=True),
        "stanford": factory.write_stanford(root / "stanford"),
        "pylate": factory.write_pylate(root / "pylate"),
    }
    load_encoder(found["stanford"]).model.save_pretrained(str(root / "native"), create_model_card=False)
    return {**found, "native": root / "native"}


@pytest.fixture(scope="session")
def encoders(checkpoints):
    """Each layout's encoder, and the default one."""
    loaded = {layout: load_encoder(directory) for layout, directory in checkpoints.items()}
    return {**loaded, "default": load_encoder()}
