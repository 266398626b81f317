import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Threads of so small models only wait for one another, for long where the machine has other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
