"""Documents encoded in several processes, where threads stop scaling; each process has an encoder of its own.

Texts are given out in parts, and come back in order. Few more parts are out at a time than there are processes, so
memory stays bounded. A process that dies is an error of whoever waits for its part; what is left of the pool ends with
the ``with`` that it is used in, and with the process that made it, however that ends.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import current_thread, main_thread
from typing import Any, NamedTuple

from xtrkit.encoding.base import EncodedChunk, Encoder, Task, Token
from xtrkit.encoding.text_encoder import Opening, TextEncoder, check_chunk_size, check_texts, opened_again
from xtrkit.encoding.users_text import UsersText
from xtrkit.errors import InputError, WorkerError, XtrkitError
from xtrkit.machine import usable_cores
from xtrkit.values import EncoderIdentity

Part = tuple[list[str], int]
"""Some texts, and the batch size."""


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection

    def encode(self, part: Part) -> EncodedChunk:
        """Have a part encoded.

        Raises:
            WorkerError: the process died.
            XtrkitError: what the encoder raised.
        """
        try:
            self.connection.send(part)
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(1)
            raise WorkerError(
                f"A process that encoded texts ended before it was done (exit code {self.process.exitcode}): it was "
                "killed, memory ran out, or the script that wants workers doesn't keep its work under "
                'if __name__ == "__main__". Mend that, or use workers=1.'
            ) from error
        if isinstance(answer, BaseException):
            raise answer
        found: EncodedChunk = answer
        return found


class PooledEncoder(TextEncoder):
    """An encoder whose streams of documents are encoded by several processes; all else it does as the one it is of.

    Attributes:
        workers: how many processes.
    """

    def __init__(self, encoder: TextEncoder, workers: list[_Worker]) -> None:
        super().__init__(encoder.opening)
        self._encoder, self._workers, self.workers = encoder, workers, len(workers)
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for worker in workers:
            self._free.put(worker)

    @property
    def identity(self) -> EncoderIdentity:
        """Which model this is."""
        return self._encoder.identity

    @property
    def computed_by(self) -> str:
        """What documents are encoded by, for an index to remember."""
        return self._encoder.computed_by

    @property
    def nprobe(self) -> int | None:
        """How many clusters XTR is to open for a query token where the caller doesn't say."""
        return self._encoder.nprobe

    def stream_documents(
        self, texts: Iterable[str], *, batch_size: int = 32, chunk_size: int = 256
    ) -> Iterator[EncodedChunk]:
        """Encode a stream of any length, ``chunk_size`` texts a process at a time."""
        check_chunk_size(chunk_size)
        check_texts(texts)
        stream = iter(texts)
        return self.stream_parts(iter(lambda: list(islice(stream, chunk_size)), []), batch_size)

    def stream_parts(self, parts: Iterable[list[str]], batch_size: int) -> Iterator[EncodedChunk]:
        """Encode parts of a stream, each in one process; the results come in their order.

        Whatever stops the stream before its end stops the processes, too: what they are at is wanted no longer.
        """
        waiting: deque[Future[EncodedChunk]] = deque()
        with ThreadPoolExecutor(self.workers) as threads:
            try:
                for part in parts:
                    waiting.append(threads.submit(self._encode_somewhere, (part, batch_size)))
                    if len(waiting) > self.workers + 1:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:
                for future in waiting:
                    future.cancel()
                for worker in self._workers:
                    worker.process.terminate()
                raise

    def _encode_somewhere(self, part: Part) -> EncodedChunk:
        worker = self._free.get()
        try:
            return worker.encode(part)
        finally:
            self._free.put(worker)

    def _encode(self, texts: Sequence[str], task: Task, batch_size: int, progress: bool) -> EncodedChunk:
        return self._encoder._encode(texts, task, batch_size, progress)

    @property
    def _users_text(self) -> UsersText:
        return self._encoder._users_text

    def _limit(self, task: Task) -> int:
        return self._encoder._limit(task)

    def _counted(self, text: str, task: Task) -> int:
        return self._encoder._counted(text, task)

    def _pieces(self, text: str) -> tuple[list[str], list[int]]:
        return self._encoder._pieces(text)

    def _tokens(self, text: str, task: Task) -> list[Token]:
        return self._encoder._tokens(text, task)


@contextmanager
def in_processes(encoder: Encoder, workers: int) -> Iterator[Encoder]:
    """An encoder of which ``workers`` processes encode documents; with one worker, it does so itself, here.

    The cores that this process may use are shared out among the processes.

    Args:
        encoder: one that :func:`~xtrkit.encoding.load.load_encoder` gave.
        workers: how many processes.

    Raises:
        InputError: there can't be so many, or the encoder can't be loaded by another process.
    """
    check_workers(workers)
    if workers == 1:
        yield encoder
        return
    if not isinstance(encoder, TextEncoder):
        raise InputError(
            f"A {type(encoder).__name__} can't be loaded again by other processes: encode with workers=1, or give the "
            "model by name or path."
        )
    started = list[_Worker]()
    try:
        for _ in range(workers):
            started.append(_start(encoder.opening, max(1, usable_cores() // workers)))
        yield PooledEncoder(encoder, started)
    finally:
        for worker in started:
            worker.process.terminate()
        for worker in started:
            worker.process.join()
            worker.connection.close()


def check_workers(workers: int) -> None:
    """Refuse a number of processes that there can't be.

    Raises:
        InputError: it isn't a whole number of at least 1.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers must be a whole number of at least 1, got {workers!r}.")


def _start(opening: Opening, threads: int) -> _Worker:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, opening, threads), daemon=True)
    with _deaf_to_interrupts():
        process.start()
    there.close()
    return _Worker(process, here)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes begin that don't hear Ctrl-C, which is for who made them: it ends them."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: Connection, opening: Opening, threads: int) -> None:
    """Encode what comes, until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # which torch reads when it is imported
    encode = _opened(opening._replace(threads=threads))
    with suppress(EOFError, OSError):
        while True:
            connection.send(encode(connection.recv()))


def _opened(opening: Opening) -> Callable[[Part], Any]:
    """What encodes parts; where the encoder can't be opened, each part is answered with why."""
    try:
        encoder = opened_again(opening)
    except XtrkitError as error:
        reason = error
        return lambda part: reason

    def encode(part: Part) -> EncodedChunk | XtrkitError:
        texts, batch_size = part
        try:
            (chunk,) = encoder.stream_documents(texts, batch_size=batch_size, chunk_size=len(texts))
        except XtrkitError as error:
            return error
        found: EncodedChunk = chunk
        return found

    return encode
