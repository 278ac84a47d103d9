"""Work on all pieces of some files: on every core where there is much to do, in the order of the files.

The rule: only a few results are ever waiting, so that a reader who takes his time costs no memory.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from redirect.commands.logs import files
from redirect.commands.logs.files import Piece
from redirect.commands.logs.progress import Progress

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
Work = Callable[[Iterable[bytes]], T]

# Bytes on disk from which on other processes are worth their start.
MUCH = 32 * 1024 * 1024

# Of these there are so many for each process, if they are not larger than this.
_SHARES = 8
_LARGEST = 64 * 1024 * 1024


def scan(paths: Sequence[str], work: Work[T], progress: Progress, in_few: bool = False) -> Iterator[T]:
    """What `work` makes of the blocks of each piece; other processes must be able to unpickle it.

    There are only a few pieces if what is made of them has to be put together. Raises UnreadableError.
    """
    workers = _cores()
    total = sum(map(files.size, paths))
    is_much = total >= MUCH and workers > 1
    size = max(files.PIECE, min(total // workers // _SHARES, _LARGEST)) if in_few else files.PIECE
    pieces = (piece for path in paths for piece in files.pieces(path, size))
    try:
        for done, result in _shared(pieces, work, workers) if is_much else _alone(pieces, work):
            yield result
            progress.advance(done)
    finally:
        progress.clear()


def _alone(pieces: Iterator[Piece], work: Work[T]) -> Iterator[tuple[int, T]]:
    for piece in pieces:
        yield piece.size, work(piece.blocks())


def _shared(pieces: Iterator[Piece], work: Work[T], workers: int) -> Iterator[tuple[int, T]]:
    from concurrent.futures import ProcessPoolExecutor  # takes longer than to read a small file

    waiting: deque[tuple[int, Future[T]]] = deque()
    # Ctrl-C reaches the whole group. The workers finish what they are at: one that ended while it hands over
    # a result would have this process wait for the rest of it forever.
    executor = ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    try:
        for piece in pieces:
            waiting.append((piece.size, executor.submit(_do, work, piece)))
            if len(waiting) > 3 * workers:
                yield _next(waiting)
        while waiting:
            yield _next(waiting)
    finally:
        executor.shutdown(cancel_futures=True)


def _next(waiting: "deque[tuple[int, Future[T]]]") -> tuple[int, T]:
    size, future = waiting.popleft()
    return size, future.result()


def _do(work: Work[T], piece: Piece) -> T:
    return work(piece.blocks())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
