"""The digest of a checkpoint's weights, known without loading them once its files have been loaded.

It is kept in the user's cache folder under the hash of the files, so a finished run is found
without torch.
"""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from backbone.common.files import atomic_replace, cache_folder
from backbone.hyena.checkpoints import SUFFIXES
from backbone.places import RANDOM, files_of

_VERSION = 1
"""Raised whenever the same files are read as other weights."""


def weights_digest(name: str, compute: Callable[[], str]) -> str:
    """Return the digest of the weights of a checkpoint, from the cache if its files are known.

    Args:
        name: As `backbone.models.load` takes it.
        compute: Loads the checkpoint and returns `backbone.models.weights_sha256` of it.

    Raises:
        InputError: If there is no such checkpoint, or it cannot be loaded.
    """
    file = cache_folder("weights") / f"{_hash_of_files(name)}.txt"
    with suppress(OSError, UnicodeDecodeError):
        kept = file.read_text()
        if re.fullmatch("[0-9a-f]{64}", kept):
            return kept
    digest = compute()
    # Without room in the cache the next process loads the weights again; this one goes on.
    with suppress(OSError), atomic_replace(file) as temporary:
        temporary.write_text(digest)
    return digest


def _hash_of_files(name: str) -> str:
    """Return a hash of everything that the weights of a checkpoint are read or drawn from."""
    path = files_of(name)
    drawn = [version("torch"), version("transformers")] if name.startswith(RANDOM) else []
    whole = hashlib.sha256(f"{_VERSION} {drawn}".encode())
    for file in _files(path):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        whole.update(f"{file.name} {content}\n".encode())
    return whole.hexdigest()


def _files(path: Path) -> list[Path]:
    """Return the files that a checkpoint is read from, and perhaps others of its folder."""
    folder, weights = (path, SUFFIXES) if path.is_dir() else (path.parent, ())
    described = [file for file in folder.iterdir() if file.suffix in (".json", ".txt", *weights)]
    return sorted({*described, *([] if path.is_dir() else [path])})
