"""Claims: what one process holds, no other does, on this machine or on any of one database.

A claim ends with its holder, however that dies: the kernel gives back the lock of a file, the
database server that of a connection. So no claim is ever stale, and none is taken from a process
that is merely slow.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

Claim = Callable[..., AbstractContextManager[bool]]
"""`claim(name)` holds the name, waiting for it; `claim(name, wait=False)` gives whether it does."""


def claims(engine: Engine, folder: Path) -> Claim:
    """The claims of all processes that share a database.

    Args:
        engine: Of the database. PostgreSQL holds claims itself.
        folder: Where files hold the claims of other databases, of this machine's processes.
    """
    if engine.dialect.name == "postgresql":
        return partial(database_claim, engine)
    return partial(file_claim, folder)


@contextmanager
def file_claim(folder: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Holds a name by the lock of a file, which is there as long as it is held.

    Args:
        folder: Of the files; it is made.
        name: What is claimed.
        wait: For another holder to end; otherwise gives False.

    Yields:
        Whether the name is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _key(name).hex()
    handle = _locked(path, wait)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            path.unlink()  # while it is held: whoever waits for it notices, and makes it anew
            os.close(handle)


def _locked(path: Path, wait: bool) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_at(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file still has its name: its last holder may have taken it away."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def database_claim(engine: Engine, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Holds a name by an advisory lock of PostgreSQL, which ends with its connection.

    Args:
        engine: Of the database.
        name: What is claimed.
        wait: For another holder to end; otherwise gives False.

    Yields:
        Whether the name is held.
    """
    from sqlalchemy import func, select

    key = int.from_bytes(_key(name), signed=True)
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # closing it then ends the session on the server, and with it the lock
        if wait:
            connection.execute(select(func.pg_advisory_lock(key)))
            yield True
        else:
            yield bool(connection.execute(select(func.pg_try_advisory_lock(key))).scalar())


def _key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:8]
