"""The cost of a training step against its length: ours, the published operator, a Transformer.

A step is the forward pass of a two-layer model over one row, next-token loss included, and the
backward pass to all weights. The published form (`backbone.hyena.reference`) has the same weights
and the same position-wise parts; the Transformer (`experiments.speed.transformer`) has the same
width, depth, norms and MLPs. Short steps are repeated and the paths take turns; long ones are done
once, in a process of their own, in which each peak of memory is measured too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import pandas as pd
import torch
import torch.nn.functional as F

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.common.memory import faults_of_a_step
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.side_by_side import inside_operations
from backbone.tokens import NUCLEOTIDES
from experiments.pictures.style import save_png
from experiments.speed.fits import fits, report
from experiments.speed.floor import seconds
from experiments.speed.options import FORMS, Form, PretrainOptions
from experiments.speed.peak import apart
from experiments.speed.pictures import draw_pretraining
from experiments.speed.prompt import device_name, memory_of, prepare
from experiments.speed.transformer import Transformer

ONCE = {"ours": 1 << 18, "published": 1 << 18, "transformer": 1 << 16}
"""Lengths from which on a step on a CPU is done once, in a process of its own."""

MEMORY_SHARE = 0.9
"""Share of the free memory that a step may be expected to take."""


@dataclass(frozen=True)
class Row:
    """A row of the table, without seconds and peak for a step that would not fit in memory.

    Attributes:
        faults: Minor page faults of a step after those that were timed; None where it is done once.
    """

    path: Form
    width: int
    layers: int
    length: int
    seconds: float | None
    tokens_per_second: float | None
    peak_bytes: int | None
    device: str
    dtype: str
    faults: float | None


class Step:
    """A model with random weights, one row of tokens, and the step that is measured."""

    def __init__(self, path: Form, shape: tuple[int, int, int], device: str, dtype: str) -> None:
        """Build the model of a path for a shape: width, layers, length."""
        width, layers, length = shape
        config = HyenaDNAConfig(
            d_model=width, n_layer=layers, d_inner=4 * width, max_seq_len=length
        )
        hyena = path != "transformer"
        model = random_model(config, seed=0) if hyena else Transformer(config, seed=0)
        self.path, self.device, self.dtype = path, device, dtype
        self.model = torch.nn.Module.to(model, device)
        draw = torch.Generator("cpu").manual_seed(0)
        drawn = torch.randint(4, (1, length), generator=draw, device="cpu")
        self.ids = torch.tensor(NUCLEOTIDES, device="cpu")[drawn].to(device)

    def __call__(self) -> torch.Tensor:
        """Do one step, of which threads share the operations, and return the loss."""
        with inside_operations():
            return self._step()

    def _step(self) -> torch.Tensor:
        self.model.zero_grad()
        half = self.dtype == "bf16"
        with torch.autocast(self.device, torch.bfloat16) if half else nullcontext():
            logits = self._logits()
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), self.ids[:, 1:].flatten())
        loss.backward()
        return loss.detach()

    def _logits(self) -> torch.Tensor:
        if self.path == "published":
            assert isinstance(self.model, HyenaDNA)
            return reference.logits(self.model, self.ids)
        if self.path == "ours":
            return self.model(self.ids).logits
        if self.device == "cuda" and self.dtype == "bf16":
            from torch.nn.attention import SDPBackend, sdpa_kernel

            with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # or an error: nothing else is meant
                return self.model(self.ids)
        return self.model(self.ids)


def once(path: Form, shape: tuple[int, int, int], device: str, dtype: str) -> float:
    """Do one step in a new process and return its seconds."""
    return seconds(Step(path, shape, device, dtype), device)


def measure_all(options: PretrainOptions) -> Path:
    """Measure all cases, write table, fits and picture, and return the table's path.

    Raises:
        InputError: If the device is missing, or the folder cannot be written.
    """
    if not options.lengths:
        raise InputError("lengths=[]: give at least one")
    prepare(options.threads, options.device)
    table = Path(options.out) / "speed_pretrain.csv"
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        frame = _kept(table)
        for row in measurements(options, frame):
            frame = pd.concat([frame, pd.DataFrame([asdict(row)])], ignore_index=True)
            frame["order"] = frame["path"].map(FORMS.index)
            frame = frame.sort_values(["order", "length"]).drop(columns="order")
            write_text(table, frame.to_csv(index=False, float_format="%.6g"))
            print(line(row), flush=True)
        write_text(
            table.with_name("speed_pretrain_fits.csv"),
            fits(frame).to_csv(index=False, float_format="%.4g"),
        )
        save_png(draw_pretraining(frame), table.with_suffix(".png"))
    except OSError as error:
        raise InputError(f"cannot write to {table.parent}: {error.strerror}") from error
    for text in report(frame):
        print(text)
    return table


def measurements(options: PretrainOptions, kept: pd.DataFrame) -> Iterator[Row]:
    """Yield a row for each length and path not measured yet; in short steps, paths take turns."""
    device, threads = options.device, options.threads
    name = device_name(device)
    for length in sorted(options.lengths):
        shape = options.width, options.layers, length
        wanted: list[Form] = [
            form
            for form in FORMS
            if form in options.paths
            and (form != "transformer" or length <= options.longest_transformer)
            and not _is_kept(kept, form, shape, name, options.dtype)
        ]
        short = [form for form in wanted if device != "cpu" or length < ONCE[form]]
        steps = {form: Step(form, shape, device, options.dtype) for form in short}
        times = [
            {form: seconds(steps[form], device) for form in short}
            for _ in range(options.repeats + 1)
        ][1:]
        faults = {form: faults_of_a_step(steps[form]) for form in short}
        steps.clear()
        for form in wanted:
            arguments = form, shape, device, options.dtype
            taken: float | None = None
            peak: int | None = None
            if fits_in_memory(kept, form, shape, device):
                taken, peak = apart(once, *arguments, threads=threads, device=device)
            if form in short:
                taken = median(turn[form] for turn in times)
            rate = None if taken is None else length / taken
            row = Row(form, *shape, taken, rate, peak, name, options.dtype, faults.get(form))
            kept = pd.concat([kept, pd.DataFrame([asdict(row)])], ignore_index=True)
            yield row


def fits_in_memory(
    measured: pd.DataFrame, form: Form, shape: tuple[int, int, int], device: str
) -> bool:
    """Return whether a step fits, by a memory proportional to the longest measured one's."""
    width, layers, length = shape
    rows = measured[(measured["path"] == form) & measured["peak_bytes"].notna()]
    rows = rows[(rows["width"] == width) & (rows["layers"] == layers) & (rows["length"] < length)]
    if rows.empty:
        return True
    longest = rows.sort_values("length").iloc[-1]
    needed = float(longest["peak_bytes"]) * length / float(longest["length"])
    return needed < MEMORY_SHARE * free_memory(device)


def free_memory(device: str) -> float:
    """Return the memory that is free now, in bytes; all of an accelerator's."""
    if device == "cpu" and Path("/proc/meminfo").exists():
        lines = Path("/proc/meminfo").read_text().splitlines()
        (found,) = (text for text in lines if text.startswith("MemAvailable"))
        return int(found.split()[1]) * 1024
    return memory_of(device)


def line(row: Row) -> str:
    """Return a row as a line for the terminal."""
    start = f"{row.path:<11} {row.length:>9,} tokens"
    if row.seconds is None or row.peak_bytes is None:
        return f"{start}  left out: it would not fit in the free memory"
    return (
        f"{start}  {row.seconds:9.3f} s  {row.tokens_per_second:10,.0f} tokens/s  "
        f"{row.peak_bytes / 1e9:6.2f} GB"
    )


def _kept(table: Path) -> pd.DataFrame:
    if not table.exists():
        return pd.DataFrame(columns=list(Row.__dataclass_fields__))
    frame = pd.read_csv(table)
    if list(frame.columns) != list(Row.__dataclass_fields__):
        raise InputError(f"{table} has other columns; move it away, or choose another out=")
    return frame[frame["seconds"].notna()]


def _is_kept(
    kept: pd.DataFrame, form: Form, shape: tuple[int, int, int], device: str, dtype: str
) -> bool:
    same = (kept["path"] == form) & (kept["device"] == device) & (kept["dtype"] == dtype)
    for column, value in zip(("width", "layers", "length"), shape, strict=True):
        same &= kept[column] == value
    return bool(same.any())
