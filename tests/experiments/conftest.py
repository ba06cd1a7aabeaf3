"""A PostgreSQL server of the tests' own, where its programs are installed."""

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server in a temporary folder, on a free port of this machine alone."""
    found = BIN[-1] if BIN else shutil.which("initdb")
    if found is None:
        pytest.skip("PostgreSQL's initdb is not here (Debian: apt-get install postgresql)")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the driver psycopg is not here: pip install 'genomic-icl[postgresql]'")
    programs = Path(found).resolve().parent
    user = {}
    if os.geteuid() == 0:  # initdb refuses root
        try:
            user = {"user": "postgres", "cwd": "/", "group": pwd.getpwnam("postgres").pw_gid}
        except KeyError:
            pytest.skip("PostgreSQL runs as user postgres only, who is not here")
    folder = Path(tempfile.mkdtemp(prefix="icl-postgresql-"))
    if user:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def called(*words: str) -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=300, **user)

    cluster, log = str(folder / "cluster"), str(folder / "log")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    settings += " -c fsync=off"
    called(str(programs / "initdb"), "-D", cluster, "-U", "icl", "-A", "trust", "-N")
    control = str(programs / "pg_ctl")
    called(control, "-D", cluster, "-l", log, "-o", settings, "-w", "-t", "240", "start")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        called(control, "-D", cluster, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql(server) -> str:
    """The address of an empty database."""
    from sqlalchemy import create_engine, text

    name = f"d{uuid.uuid4().hex}"
    engine = create_engine(f"postgresql+psycopg://icl@{server}/postgres")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"create database {name}"))
    engine.dispose()
    return f"postgresql+psycopg://icl@{server}/{name}"
