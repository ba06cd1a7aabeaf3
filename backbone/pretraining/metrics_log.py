"""The metrics of a run, in metrics.jsonl and optionally in TensorBoard."""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from backbone.common.errors import InputError
from backbone.pretraining.checkpoint import storing


class Journal:
    """The metrics of a run, one JSON object a line, each with its step."""

    def __init__(self, out: Path, step: int, tensorboard: bool = False) -> None:
        """Drop the lines after the step from which the run resumes.

        Args:
            out: Folder of the run.
            step: Step of the checkpoint that the run resumes from; 0 at the start.
            tensorboard: Whether to write all numbers to `out/tensorboard` too.

        Raises:
            InputError: If TensorBoard is wanted and not installed.
        """
        self.path = out / "metrics.jsonl"
        self._board = None
        self._checkpoints = out / "checkpoints"
        with storing(self.path, self._checkpoints):
            _drop_later_lines(self.path, step)
        if tensorboard:
            check_tensorboard()
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, **values: Any) -> None:
        """Append a line.

        Raises:
            InputError: If the disk is full.
        """
        line = json.dumps({"step": step, **values}) + "\n"
        with storing(self.path, self._checkpoints), self.path.open("a", encoding="utf-8") as file:
            file.write(line)
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)
            self._board.flush()


def check_tensorboard() -> None:
    """Raise InputError if TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "tensorboard=true needs the package tensorboard: pip install -e '.[tensorboard]', "
            "or leave it out; metrics.jsonl has the same numbers"
        )


def _drop_later_lines(metrics: Path, step: int) -> None:
    if metrics.exists():
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and _stays(json.loads(line), step)]
        fresh = metrics.with_name(f".{metrics.name}.part")
        fresh.write_text("".join(kept), encoding="utf-8")
        os.replace(fresh, metrics)


def _stays(line: dict[str, Any], step: int) -> bool:
    """Whether a line is kept on resuming: the scores of a run's end are computed again."""
    is_end = any(key.startswith("final_valid_perplexity") for key in line)
    return line["step"] < step or (line["step"] == step and not is_end)
