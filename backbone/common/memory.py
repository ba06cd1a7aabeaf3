"""Freed memory that a process keeps, so that the next step finds it there.

The C library of Linux gives blocks of more than 128 KB to 32 MB back to the system when they are
freed. The next step's blocks are then new to the process, and each of their pages is faulted in and
cleared when it is first touched: thousands of avoidable page faults per step.
"""

import ctypes
import gc
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from statistics import median

LARGEST_BLOCKS = (512 << 20, 32 << 20)
"""Bytes of the largest block that is kept; larger ones go back to the system. Releases of glibc
before 2.35 refuse more than the second."""

FREE_AT_THE_END = 1 << 30
"""Bytes that may stay free at the end of the heap; with more, all of them go back."""

STEPS = 5
"""Steps of which the median of page faults is taken."""

HEAP = 64 << 20
"""Bytes that a heap is asked for beyond what is needed: as many as the heap of a thread has, so
that an empty one is kept. They are not touched, so they cost no memory."""

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt, as in glibc's malloc.h."""


@cache
def keep_freed_memory() -> None:
    """Make this process keep memory that it frees; no effect with another C library.

    A command that computes many steps calls it once, before the first.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        any(mallopt(_M_MMAP_THRESHOLD, size) for size in LARGEST_BLOCKS)
        mallopt(_M_TRIM_THRESHOLD, FREE_AT_THE_END)
        # A heap for each thread: those that share one wait for it, and for its cache lines.
        mallopt(_M_TOP_PAD, HEAP)


@contextmanager
def without_collection() -> Iterator[None]:
    """Has Python look for no reference cycles in the block, for imports of large libraries.

    They make hundreds of thousands of objects that stay, and each search reads all of them again:
    a sixth of the time that importing torch and transformers takes.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@cache
def keep_objects() -> None:
    """Have Python look for no reference cycles, from now on, among the objects that exist.

    A command calls it once, when large libraries are loaded, whose objects each search would read
    again. Functions of the library do not: what a caller's own program has made by then would never
    be collected.
    """
    gc.collect()
    gc.freeze()


def minor_faults(work: Callable[[], object]) -> int:
    """Return how many pages the system gives this process while it does some work.

    Pages that it reads from a disk are not counted.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def faults_of_a_step(step: Callable[[], object]) -> int:
    """Return the minor page faults of a step that has been done before, the median of STEPS."""
    return int(median(minor_faults(step) for _ in range(STEPS)))
