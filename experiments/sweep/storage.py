"""The database of studies, and claims: a name that one process at a time can hold.

A claim ends with its holder, however that dies: the kernel releases the lock of a file, the
database server that of a connection. So no claim is ever stale, and none is taken from a process
that is merely slow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import (
    Engine,
    NullPool,
    String,
    cast,
    column,
    create_engine,
    func,
    make_url,
    select,
    table,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from backbone.common.errors import InputError

BUSY = 30
"""Seconds that SQLite waits for another process's transaction."""

Claim = Callable[..., AbstractContextManager[bool]]
"""`claim(name)` waits for a name and holds it; `claim(name, wait=False)` yields whether it does."""


def open_storage(url: str, *, create: bool) -> RDBStorage:
    """Open the database of studies.

    Args:
        url: Its address, as SQLAlchemy reads it.
        create: Create missing tables; only the sweep does so, not its workers.

    Raises:
        InputError: If it cannot be reached or used.
    """
    settings = _connection(url)
    with reached(url):
        try:
            return RDBStorage(
                url.replace("{", "{{").replace("}", "}}"),  # Optuna fills in a template
                engine_kwargs=settings,
                skip_table_creation=not create,
            )
        except RuntimeError as error:  # the schema of another version of Optuna
            reason = " ".join(str(error).split())
            raise InputError(f"storage={without_password(url)}: {reason}") from error


def first_waiting(storage: RDBStorage, study: int) -> int | None:
    """Return the id of a study's first trial that waits; None if none does.

    Optuna would read all of them, with their values.

    Args:
        storage: The database.
        study: The study's id there.
    """
    trials = table("trials", column("trial_id"), column("study_id"), column("state"))
    waits = cast(trials.c.state, String) == "WAITING"
    query = select(func.min(trials.c.trial_id)).where(trials.c.study_id == study, waits)
    with storage.engine.connect() as connection:
        return connection.execute(query).scalar()


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Turn a database's errors into one line.

    Raises:
        InputError: If the database cannot be used, naming it without its password.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError, json.JSONDecodeError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        name = f"storage={without_password(url)}"
        if isinstance(cause, ModuleNotFoundError):
            raise InputError(
                f"{name}: its driver {cause.name} is not installed; for PostgreSQL: "
                "pip install 'genomic-icl[postgresql]'"
            ) from error
        reason = str(cause).strip().partition("\n")[0]
        raise InputError(f"{name}: cannot be used ({reason})") from error


def without_password(url: str) -> str:
    """Return a database's address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def _connection(url: str) -> dict[str, Any]:
    """Return SQLAlchemy's settings for a database."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(
            f"storage={url}: is not the address of a database; give sqlite:///FILE or "
            "postgresql+psycopg://USER@HOST/DATABASE"
        ) from error
    if _is_postgresql(url):
        # The claims of a machine that vanished end within a minute, not after the usual hours.
        alive = {"idle": 30, "interval": 10, "count": 3}
        options = " ".join(f"-c tcp_keepalives_{name}={value}" for name, value in alive.items())
        return {
            "pool_pre_ping": True,
            "connect_args": {"connect_timeout": 10, "options": options},
        }
    if parsed.get_backend_name() != "sqlite":
        return {"pool_pre_ping": True}
    if parsed.database in (None, "", ":memory:"):
        raise InputError(f"storage={url}: processes cannot share it; give sqlite:///FILE")
    return {"connect_args": {"timeout": BUSY}}


def _is_postgresql(url: str) -> bool:
    return make_url(url).get_backend_name() == "postgresql"


def sweeps_folder(out: str) -> Path:
    """Return where the tables, logs and claims of sweeps into a folder of runs are."""
    return Path(out).expanduser() / "sweeps"


def claims(url: str, folder: Path) -> Claim:
    """Return the claims of all processes that share a database.

    Args:
        url: Address of the database. PostgreSQL holds claims itself.
        folder: Of the sweeps: for other databases files in it hold claims, and all must share it.
    """
    if not _is_postgresql(url):
        return partial(file_claim, folder / "claims")
    engine = create_engine(url, **_connection(url), poolclass=NullPool)
    return partial(database_claim, engine.execution_options(isolation_level="AUTOCOMMIT"))


@contextmanager
def file_claim(folder: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a name by the lock of a file, which exists as long as the name is held.

    Args:
        folder: Where the file is; created if missing.
        name: What is claimed.
        wait: Wait for another holder to end.

    Yields:
        Whether the name is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _key(name).hex()
    lock = FileLock(path, blocking=wait, fallback_to_soft=False)
    with suppress(Timeout):
        lock.acquire()
    try:
        yield lock.is_locked
    finally:
        if lock.is_locked:
            path.unlink()  # while it is held: whoever waits for it notices, and creates it anew
            lock.release()


@contextmanager
def database_claim(engine: Engine, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold a name by an advisory lock of PostgreSQL, which ends with its connection.

    Args:
        engine: Of the database; without a pool, so that a closed connection is really closed.
        name: What is claimed.
        wait: Wait for another holder to end.

    Yields:
        Whether the name is held.
    """
    key = int.from_bytes(_key(name), signed=True)
    with engine.connect() as connection:
        if wait:
            connection.execute(select(func.pg_advisory_lock(key)))
            yield True
        else:
            yield bool(connection.execute(select(func.pg_try_advisory_lock(key))).scalar())


def _key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:8]
