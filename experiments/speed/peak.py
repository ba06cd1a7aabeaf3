"""Peak memory of a piece of work, measured in a process of its own."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch

from icl.environment import peak_memory_bytes

T = TypeVar("T")


def peak_of(work: Callable[..., object], *arguments: object, threads: int, device: str) -> int:
    """Runs work(*arguments) in a fresh process and returns the most memory that process held.

    Raises:
        RuntimeError: if the process ended without an answer, as when it ran out of memory.
    """
    return apart(_without_result, work, *arguments, threads=threads, device=device)[1]


def apart(work: Callable[..., T], *arguments: object, threads: int, device: str) -> tuple[T, int]:
    """Runs work(*arguments) in a fresh process; returns its result and that process's peak.

    Raises:
        RuntimeError: if the process ended without an answer, as when it ran out of memory.
    """
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
    torch.set_num_threads(threads)
    result = work(*arguments)
    sending.send((result, _peak(device)))


def _peak(device: str) -> int:
    """Peak of this process; Linux's getrusage is no use, it hands on the parent's peak."""
    status = Path("/proc/self/status")
    if device == "cuda" or not status.exists():
        return peak_memory_bytes(device)
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
