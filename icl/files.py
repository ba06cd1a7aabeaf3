"""Files that are there whole or not at all; see also `backbone.common.files`."""

from pathlib import Path

import numpy as np

from backbone.common.files import write_text, written_whole

__all__ = ["save_arrays", "write_text", "written_whole"]


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as safetensors, whole or not at all; no file where there are none."""
    if not arrays:
        return
    from safetensors.numpy import save_file

    with written_whole(path) as temporary:
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, temporary)
