"""Peak memory of a computation: of a process of its own, or of what it takes on a GPU."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch

from backbone.common.memory import keep_freed_memory
from backbone.side_by_side import use_threads
from icl.environment import peak_memory_bytes

T = TypeVar("T")


def peak_of(work: Callable[..., object], *arguments: object, threads: int, device: str) -> int:
    """Run work(*arguments) and return its peak memory in bytes; see `apart`.

    Raises:
        RuntimeError: If the process ended without a result, as when it ran out of memory.
    """
    return apart(_without_result, work, *arguments, threads=threads, device=device)[1]


def apart(work: Callable[..., T], *arguments: object, threads: int, device: str) -> tuple[T, int]:
    """Run work(*arguments); return its result and its peak memory in bytes.

    On CUDA, which counts what tensors take, that is what they took more than before. Elsewhere it
    is that of a new process.

    Raises:
        RuntimeError: If the process ended without a result, as when it ran out of memory.
    """
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = work(*arguments)
        return result, torch.cuda.max_memory_allocated() - before
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sending, work, arguments, threads, device))
    process.start()
    sending.close()
    try:
        return receiving.recv()
    except EOFError:
        raise RuntimeError("the process that measures memory ended early") from None
    finally:
        process.join()


def _without_result(work: Callable[..., object], *arguments: object) -> None:
    work(*arguments)


def _report(
    sending: Connection,
    work: Callable[..., object],
    arguments: tuple[object, ...],
    threads: int,
    device: str,
) -> None:
    keep_freed_memory()
    use_threads(threads)
    result = work(*arguments)
    sending.send((result, _peak(device)))


def _peak(device: str) -> int:
    """Return this process's peak; on Linux getrusage would include the parent's."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak_memory_bytes(device)
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
