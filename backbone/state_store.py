"""Encoded rows in the user's cache folder, which later runs of the same backbone map into memory.

What is read equals, to the last bit, what would be computed: a file is found under a digest of all
that decides it, weights, kind, version and the processor's instructions among them. Files
are safetensors; those that were used longest ago make room for new ones.
"""

import hashlib
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backbone.common.files import atomic_replace, cache_folder

if TYPE_CHECKING:
    from torch import Tensor

    from backbone.protocol import LanguageModel

VERSION = 3
"""Raised whenever the same rows are encoded to other numbers, be it in their last digits."""

FOLDER = "states"
"""Kind of file in the user's cache folder."""

MOST_BYTES = 2 << 30
"""Bytes of all files, unless a run sets another limit."""

LEAST_LETTERS = 1 << 18
"""Letters from which on encoding them takes longer, by seconds, than writing and reading a file."""

DIGEST = 16
"""Bytes of a row's digest."""


@dataclass
class StateStore:
    """Encoded rows on disk, of any backbones and kinds.

    Attributes:
        most: Bytes of all files; 0 for no files.
    """

    most: int = MOST_BYTES
    folder: Path = field(default_factory=lambda: cache_folder(FOLDER))

    def read(self, key: str, rows: Sequence[str]) -> dict[str, tuple["tuple[Tensor, ...]", int]]:
        """Return what is known of rows: tensors, mapped into memory, and the place there.

        Args:
            key: As `key_of` returns it.
            rows: The rows.
        """
        from safetensors import SafetensorError, safe_open

        wanted = {_digest(row): row for row in rows}
        found: dict[str, tuple[tuple[Tensor, ...], int]] = {}
        for file in sorted(self.folder.glob(f"{key}-*.safetensors")):
            if len(found) == len(wanted):
                break
            try:
                with safe_open(file, framework="pt") as opened:
                    digests = opened.get_tensor("rows").numpy()
                    count = len(opened.keys()) - 1
                    block = tuple(opened.get_tensor(str(i)) for i in range(count))
                os.utime(file)
            except (OSError, SafetensorError):  # of another process that ended early, or removed
                with suppress(OSError):
                    file.unlink()
                continue
            for place, digest in enumerate(digests):
                if (row := wanted.get(digest.tobytes())) is not None:
                    found.setdefault(row, (block, place))
        return found

    def write(self, key: str, rows: Sequence[str], block: "tuple[Tensor, ...]") -> bool:
        """Write the tensors of rows, if they fit; return whether they were written.

        Args:
            key: As `key_of` returns it.
            rows: N different rows.
            block: Tensors with the rows as first dimension.
        """
        import torch
        from safetensors.torch import save_file

        size = sum(part.numel() * part.element_size() for part in block)
        if size > self.most:
            return False
        digests = [_digest(row) for row in rows]
        own = hashlib.sha256(b"".join(digests)).hexdigest()[:DIGEST]
        table = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(rows), DIGEST)
        tensors = {str(i): part.contiguous() for i, part in enumerate(block)}
        tensors["rows"] = torch.from_numpy(table.copy())
        # Without room on the disk the next run encodes the rows again; this one goes on.
        with suppress(OSError):
            self._make_room(size)
            with atomic_replace(self.folder / f"{key}-{own}.safetensors") as temporary:
                save_file(tensors, temporary)
            return True
        return False

    def _make_room(self, size: int) -> None:
        """Remove the files that were used longest ago until so many bytes fit."""
        files = self._files()
        total = sum(one for _, one, _ in files)
        for _, one, file in files:
            if total + size <= self.most:
                break
            file.unlink(missing_ok=True)
            total -= one

    def _files(self) -> list[tuple[float, int, Path]]:
        """Return time of last use, size and path of all files, in this order."""
        found = []
        for file in self.folder.glob("*.safetensors"):
            with suppress(OSError):  # another process may remove it
                found.append(((stat := file.stat()).st_mtime, stat.st_size, file))
        return sorted(found)


def key_of(model: "LanguageModel", kind: str) -> str:
    """Return the name of everything but the rows that decides encoded rows.

    Args:
        model: The backbone.
        kind: What is computed, with every setting that it depends on.
    """
    import torch

    from backbone.models import weights_sha256

    facts = [
        VERSION,
        weights_sha256(model),
        kind,
        torch.__version__,
        torch.get_float32_matmul_precision(),
        torch.backends.cpu.get_cpu_capability(),
        _processor(),
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[: 2 * DIGEST]


def _processor() -> str:
    """Return the name of the processor: libraries choose their instructions by it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line
    return f"{platform.machine()} {platform.processor()}"


def _digest(row: str) -> bytes:
    return hashlib.sha256(row.encode("latin-1")).digest()[:DIGEST]
