"""A function over many chunks, in several processes, in order, with few chunks in memory at a time."""

import gc
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import TypeVar

from curation.errors import TilthError

In = TypeVar("In")
Out = TypeVar("Out")
MAX_PROCESSES = 8


def processors() -> int:
    """How many processes this one may keep busy."""
    ours = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(ours, MAX_PROCESSES)


def spread(function: Callable[[In], Out], chunks: Iterable[In], processes: int) -> Generator[Out]:
    """What the function makes of each chunk, in the order of the chunks; close the generator to stop early.

    Args:
        function: picklable, as are its argument and result.
        processes: 1 stays in this process. Others are started afresh (spawned), which takes about a second.

    Raises:
        TilthError: a process was killed from outside.
    """
    if processes == 1:
        yield from map(function, chunks)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_as_worker)
    waiting: deque[Future[Out]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_call, function, chunk))
            if len(waiting) > processes + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise TilthError(
            "a worker process was killed, probably for want of memory; free some and run this again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _as_worker() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    gc.disable()


def _call(function: Callable[[In], Out], chunk: In) -> Out:
    gc.collect(1)  # between chunks: records hold no cycles, and looking for some all along costs a tenth of the time
    return function(chunk)


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
