"""Stateful: whatever is added, updated, deleted, compacted, pinned, rolled back: the index is as the model."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.forking import fork
from tests.indexing.world import World, merging_late
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.indexing.checking import verify
from xtrkit.indexing.repairing import roll_back_to
from xtrkit.storage.generations import OWN_NAME, WriterLock, collect, generations, pin

IDS = st.sampled_from("abcdefghij")
SOME = st.lists(IDS, unique=True, max_size=4)


class Machine(RuleBasedStateMachine):
    nbits = 16

    def __init__(self):
        super().__init__()
        self.directory = Path(
            tempfile.mkdtemp(prefix="xtrkit-test-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        )
        self.world = World(self.directory / "index", self.nbits)
        self.states = {1: dict(self.world.content)}

    def teardown(self):
        shutil.rmtree(self.directory)

    def _committed(self):
        self.world.refresh()
        self.states[self.world.index.generation] = dict(self.world.content)

    @rule(put=SOME, delete=SOME)
    def change(self, put, delete):
        self.world.change(put, delete)
        self._committed()

    @rule(identifier=IDS)
    def update(self, identifier):
        if identifier in self.world.content:
            self.world.change([identifier])
        else:
            with (
                pytest.raises(InputError, match="No document of this index has the id"),
                self.world.index.writer() as w,
            ):
                w.delete([identifier])
        self._committed()

    @rule(put=SOME)
    def abandon(self, put):
        """A writer that gives up changes nothing."""
        with pytest.raises(RuntimeError), self.world.index.writer() as writer:  # noqa: PT012
            writer.add(*self.world.batch(put))
            writer.delete(self.world.content)
            raise RuntimeError

    @rule(put=SOME, committed=st.booleans())
    def killed(self, put, committed):
        """A writer that is killed before its commit changes nothing, and after it all."""
        batch = self.world.batch(put)
        process = fork()
        if not process:
            try:
                writer = self.world.index.writer()
                writer.add(*batch)
                if committed:
                    writer._commit()
                else:
                    writer._seal()
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        assert os.waitpid(process, 0)[1] == signal.SIGKILL
        if committed:
            self.world.content |= dict.fromkeys(put, self.world.version)
        self._committed()

    @rule(retrain=st.booleans())
    def compact(self, retrain):
        self.world.index.compact(retrain=retrain)
        self._committed()
        assert self.world.index.n_segments == 1

    @rule()
    def pin(self):
        self.world.pin()

    @rule()
    def look_at_pinned(self):
        for index, content in self.world.old.values():
            self.world.check(index, content)

    @rule()
    def unpin(self):
        for index, _ in self.world.old.values():
            index._store.pin.close()
        self.world.old.clear()

    @rule()
    def reopen(self):
        self.world.index.close()
        self.world.old.clear()
        self.world.index = Index.open(self.world.path)

    @rule()
    def roll_back(self):
        generation = generations(self.world.path)[0]
        roll_back_to(self.world.path, generation)
        self.world.content = dict(self.states[generation])
        self._committed()

    @rule()
    def verify(self):
        assert verify(self.world.path, full=True).ok

    @rule()
    def leave_nothing_over(self):
        lock = WriterLock(self.world.path)
        collect(self.world.path)
        lock.close()
        pins = [pin(self.world.path, generation) for generation in generations(self.world.path)]
        named = {file.name for pinned in pins for file in pinned.manifest.files}
        for pinned in pins:
            pinned.close()
        assert {path.name for path in self.world.path.iterdir() if OWN_NAME.fullmatch(path.name)} == named

    @invariant()
    def holds_what_the_model_holds(self):
        self.world.check()


class CompressedMachine(Machine):
    nbits = 4


def run(machine, examples, steps):
    with merging_late():
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )


@pytest.mark.parametrize("machine", [Machine, CompressedMachine], ids=["exact", "compressed"])
def test_the_index_holds_what_the_model_holds(machine):
    run(machine, 45, 23)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [Machine, CompressedMachine], ids=["exact", "compressed"])
def test_the_index_holds_what_the_model_holds_for_long(machine):
    run(machine, 200, 50)
