"""Where studies are kept: Optuna's relational storage, SQLite or a database server."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from backbone.common.errors import InputError

GRACE = 4
"""Heartbeats that a trial may miss before its worker is taken for dead."""
_BUSY = 120
"""Seconds that SQLite waits for another process's transaction."""


def open_storage(url: str, heartbeat: int, *, create: bool) -> RDBStorage:
    """Opens a storage whose running trials give a sign of life.

    Args:
        url: Of the database, as SQLAlchemy reads it.
        heartbeat: Seconds between two signs of life.
        create: Make what is missing of the schema; one process alone does so.

    Raises:
        InputError: If it cannot be reached.
    """
    settings = _engine_settings(url)
    with reached(url), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = RDBStorage(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna fills a template
            engine_kwargs=settings,
            heartbeat_interval=heartbeat,
            grace_period=GRACE * heartbeat,
            skip_table_creation=not create,
        )
        if storage.engine.dialect.name == "sqlite":
            _write_from_the_start(storage.engine)
    return storage


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Turns what a database says when it cannot be used into one line.

    Raises:
        InputError: Naming the database without its password.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        if isinstance(root, ModuleNotFoundError):
            raise InputError(
                f"storage={shown(url)}: its driver {root.name} is not installed; for PostgreSQL: "
                "pip install 'genomic-icl[postgresql]'"
            ) from error
        said = str(root).strip().partition("\n")[0]
        raise InputError(f"storage={shown(url)}: cannot be reached ({said})") from error


def shown(url: str) -> str:
    """A database's address without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def _engine_settings(url: str) -> dict[str, Any]:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(
            f"storage={url}: is no address of a database; give sqlite:///FILE or "
            "postgresql+psycopg://USER@HOST/DATABASE"
        ) from error
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise InputError(f"storage={url}: processes cannot share it; give sqlite:///FILE")
        return {"connect_args": {"timeout": _BUSY}}
    if kind == "postgresql":
        # A claim of a machine that vanished ends within a minute, not within the usual hours.
        alive = {"idle": 30, "interval": 10, "count": 3}
        options = " ".join(f"-c tcp_keepalives_{name}={value}" for name, value in alive.items())
        connect = {"connect_timeout": 10, "options": options}
        return {"pool_pre_ping": True, "connect_args": connect}
    return {"pool_pre_ping": True}


def _write_from_the_start(engine: Engine) -> None:
    """Makes each of SQLite's transactions take the right to write when it begins.

    Optuna moves a trial from waiting to running by reading its state and then writing it. By
    default SQLite lets two processes read before either writes, and both would have the trial.
    """

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction of its own

    @event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections that were opened before
