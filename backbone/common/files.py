"""Files: atomic writing, reading with any line endings, and the cache folder."""

import errno
import gzip
import io
import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import numpy as np
import platformdirs
from safetensors import SafetensorError

from backbone.common.errors import InputError

GZIP = b"\x1f\x8b"
"""The first two bytes of every gzip file, bgzip's included (RFC 1952, section 2.3.1)."""

READ_ERRORS = (OSError, EOFError, UnicodeDecodeError, zlib.error)
"""What reading a text file that is missing, truncated or damaged raises."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary file next to `path`, renamed to `path` if the block succeeds.

    The folder is created if missing, and removed again if the block fails and it is empty.

    Raises:
        InputError: If the file cannot be written, as on a full disk.
    """
    try:
        created = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_replace(path) as temporary:
                yield temporary
        finally:
            if not path.exists():
                with suppress(OSError):  # others may have written there meanwhile
                    for folder in created:
                        folder.rmdir()
    except (OSError, SafetensorError) as error:
        failed = Path(getattr(error, "filename", None) or path).absolute()
        if failed not in path.absolute().parents and failed.parent != path.absolute().parent:
            raise  # the block could not read something else
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "choose another place"
        raise InputError(f"cannot write {path}: {reason}; {advice}") from error


@contextmanager
def atomic_replace(path: Path) -> Iterator[Path]:
    """Do the same as `atomic_write` for files that a user does not need, such as caches.

    Raises:
        OSError: If the file cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp gives 0600, which no one else could read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        InputError: If it cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """Return strict JSON, indented, in which a number that is NaN or infinite is null."""
    return json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n"


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as safetensors, atomically.

    Raises:
        InputError: If the file cannot be written.
    """
    from safetensors.numpy import save_file

    with atomic_write(path) as temporary:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, temporary)


def open_bytes(path: Path, file: BinaryIO | None = None) -> BinaryIO:
    """Open a file for reading, plain or gzip, which its first bytes tell.

    Args:
        path: The file.
        file: Its bytes, where they are open already, as for a progress bar.

    Raises:
        OSError: If the file cannot be opened; reading can raise any of `READ_ERRORS`.
    """
    raw = io.BufferedReader(cast(io.RawIOBase, file or path.open("rb", buffering=0)))
    if raw.peek(2)[:2] != GZIP:
        return raw
    if file is None:
        raw.close()
    unpacked = gzip.GzipFile(path) if file is None else gzip.GzipFile(fileobj=raw)
    return io.BufferedReader(cast(io.RawIOBase, unpacked))


def open_text(path: Path, file: BinaryIO | None = None, errors: str = "strict") -> TextIO:
    r"""Open a text file as `open_bytes` does; `errors` is that of `open`.

    Lines may end in `\n`, `\r\n` or `\r`, and are given with `\n`; a byte order mark is dropped.
    """
    return io.TextIOWrapper(open_bytes(path, file), encoding="utf-8-sig", errors=errors)


def cache_folder(kind: str) -> Path:
    """Make the user's cache folder for one kind of file; a temporary one if it is not writable."""
    folder = platformdirs.user_cache_path("genomic-icl", appauthor=False) / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return temporary_cache()
    return folder if os.access(folder, os.W_OK) else temporary_cache()


def temporary_cache() -> Path:
    """Make a cache folder among the system's temporary files."""
    return Path(tempfile.mkdtemp(prefix="genomic-icl-"))


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    return [_without_nan(one) for one in value] if isinstance(value, list | tuple) else value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
