"""Documents of all devices: two processes with half a batch each learn what one process with the whole batch learns."""

import json
import subprocess
import sys

import pytest
import torch

WORKER = """
import json, sys, torch, torch.distributed as dist
from xtrkit.training.objectives import LateInteractionLoss
from xtrkit.training.recipes import XTR_TRAINING

rank, world, meeting = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
torch.manual_seed(0)

class Linear(torch.nn.Module):
    "An encoder of one layer: what is gathered are token embeddings, wherever they come from."
    def __init__(self):
        super().__init__()
        self.table, self.weight = torch.randn(50, 6), torch.nn.Parameter(torch.randn(6, 4))
    def forward(self, features, task):
        return {**features, "token_embeddings": self.table[features["input_ids"]] @ self.weight}

model = Linear()
ids, lengths = torch.randint(50, (4, 5)), torch.tensor([5, 2, 3, 4])
documents, document_lengths = torch.randint(50, (8, 7)), torch.tensor([7, 3, 7, 2, 4, 5, 3, 4])

def entry(ids, lengths, rows):
    width = int(lengths[rows].max())  # each device pads to its own longest
    return {"input_ids": ids[rows][:, :width], "attention_mask": (torch.arange(width) < lengths[rows][:, None]).long()}

half = slice(4 // world * rank, 4 // world * (rank + 1))
of_half = slice(2 * half.start, 2 * half.stop)
queries, passages = entry(ids, lengths, half), entry(documents, document_lengths, of_half)
queries["positives"] = torch.tensor([[0, 6], [2, -1], [4, -1], [6, 0]])[half]
passages["number"] = torch.arange(8)[of_half]
loss = LateInteractionLoss(model, XTR_TRAINING.but(k_train=9, gather=True))([queries, passages])
loss.backward()
gradient = model.weight.grad
if world > 1:
    loss = loss.detach()
    dist.all_reduce(loss)
    dist.all_reduce(gradient)  # as DistributedDataParallel does
print(json.dumps([float(loss) / world, (gradient / world).tolist()]))
"""


def results(world, meeting):
    arguments = [[sys.executable, "-c", WORKER, str(rank), str(world), str(meeting)] for rank in range(world)]
    started = [subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for one in arguments]
    found = []
    for process in started:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        found.append(json.loads(output.splitlines()[-1]))
    return found


@pytest.mark.slow  # three processes have to import torch
def test_two_devices_are_as_one(tmp_path):
    """Oracle 8, for the gathering of devices."""
    (whole,) = results(1, tmp_path / "one")
    for loss, gradient in results(2, tmp_path / "two"):
        assert loss == pytest.approx(whole[0], abs=1e-5)
        # Each device's loss is the mean of its half; gathering sums the gradients of what was gathered over devices.
        torch.testing.assert_close(torch.tensor(gradient), torch.tensor(whole[1]), atol=1e-5, rtol=1e-4)
