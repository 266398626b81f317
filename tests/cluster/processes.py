"""Workers that are processes of this machine, as Ray's actors are, for tests that do without Ray."""

import os
import pickle
import signal
import time
from multiprocessing import Pipe
from multiprocessing.connection import wait

from tests.forking import fork
from xtrkit.cluster import parts
from xtrkit.cluster.crew import Worker
from xtrkit.cluster.dispatch import Dispatcher, Outcome, Room
from xtrkit.errors import XtrkitError


class Processes:
    """A crew of processes, and their team.

    Attributes:
        dispatcher: who gives tasks out.
        most: bytes that tasks at work held together, at most.
        together: tasks that were at work together, at most.
        killed: workers that were killed: the method that they were at, and how.
        sent: the largest message to a worker, in bytes, and the largest that came back.
    """

    def __init__(self, workplace, encoder, batch_size, *, size=2, room=1 << 40, kills=(), slow=0.0):
        """Fork them.

        Args:
            workplace: as any crew has it.
            encoder: as any crew has it.
            batch_size: as any crew has it.
            size: how many.
            room: bytes that they may hold together.
            kills: "begun" kills the first worker that gets a task of each method, "made" the second one, when all is
                there but its name.
            slow: seconds that each task takes longer.
        """
        self._given, self._slow, self.size, self._room = (workplace, encoder, batch_size), slow, size, room
        self._wanted, self._kills, self.killed = list(kills), dict[str, list[str]](), []
        self._ends, self._pids, self._tasks = {}, {}, {}
        self.held = self.most = self.together = 0
        self.sent = [0, 0]
        for place in range(size):
            self._start(place)
        self.dispatcher = Dispatcher(self)

    def done(self, tasks):
        return self.dispatcher.done(tasks)

    def close(self):
        for place in self._pids:
            self._end(place)

    def greet(self, place):
        self._ends[place].send_bytes(pickle.dumps(("greet", None)))
        return place

    def begin(self, place, task):
        how = self._kill_of(task)
        if how:
            self.killed.append((task.method, how))
        message = pickle.dumps(("made" if how == "made" else "do", task))
        self.sent[0] = max(self.sent[0], len(message))
        self._ends[place].send_bytes(message)
        self._tasks[place] = task
        self.held += task.holds
        self.most, self.together = max(self.most, self.held), max(self.together, len(self._tasks))
        if how == "begun":
            os.kill(self._pids[place], signal.SIGKILL)
        return place

    def ended(self, calls):
        ready = wait([self._ends[place] for place in calls], 60)
        place = next(place for place in calls if self._ends[place] in ready)
        if place in self._tasks:
            self.held -= self._tasks.pop(place).holds
        try:
            message = self._ends[place].recv_bytes()
        except (EOFError, ConnectionResetError) as error:
            return place, Outcome("died", error)
        self.sent[1] = max(self.sent[1], len(message))
        return place, pickle.loads(message)

    def replace(self, place):
        self._end(place)
        self._start(place)

    def _kill_of(self, task):
        """How the worker shall die that gets a task: of each method one in each way."""
        left = self._kills.setdefault(task.method, self._wanted.copy())
        return left.pop(0) if left else None

    def _start(self, place):
        self._ends[place], theirs = Pipe()
        parent = os.getpid()
        self._pids[place] = fork()
        if not self._pids[place]:
            try:
                self._serve(theirs, parent)
            finally:
                os._exit(0)
        theirs.close()

    def _end(self, place):
        os.kill(self._pids[place], signal.SIGKILL)
        os.waitpid(self._pids[place], 0)
        self._ends[place].close()

    def _serve(self, end, parent):
        workplace, encoder, batch_size = self._given
        worker = Worker(workplace, lambda: encoder, batch_size, threads=1)
        while True:
            while not end.poll(0.1):
                if os.getppid() != parent:
                    return
            how, task = pickle.loads(end.recv_bytes())
            if how == "greet":
                end.send_bytes(pickle.dumps(Outcome("returned", Room("here", self._room))))
                continue
            if how == "made":
                parts.flush = lambda path: os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(self._slow)
            try:
                end.send_bytes(pickle.dumps(Outcome("returned", worker.do(task))))
            except XtrkitError as error:
                end.send_bytes(pickle.dumps(Outcome("raised", error)))
