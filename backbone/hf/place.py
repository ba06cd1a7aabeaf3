"""Where the files of `hf:FOLDER` or `hf:OWNER/NAME[@REVISION]` are; no torch, no transformers."""

import re
from pathlib import Path

from backbone.common.errors import InputError
from backbone.hub import snapshot

PREFIX = "hf:"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_SMALL = ("*.json", "*.txt", "*.model", "README.md")


def resolve(place: str) -> Path:
    """Return the folder of a checkpoint, fetched from the Hub if it is there.

    Args:
        place: A folder, or an id on the Hub (`owner/name`, or `owner/name@revision`).

    Raises:
        InputError: If it is neither, or cannot be fetched.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        return path
    if not _HUB_ID.fullmatch(place):
        raise InputError(
            f"backbone={PREFIX}{place}: there is no such folder, and an id on the Hub is "
            f"owner/name or owner/name@revision"
        )
    name, _, revision = place.partition("@")
    folder = snapshot(name, revision or None, (*_SMALL, "model*.safetensors"))
    if not any(folder.glob("model*.safetensors")):
        folder = snapshot(name, revision or None, (*_SMALL, "pytorch_model*.bin"))
    return folder
