"""HyenaDNA as others would take it: MultiMolecule's from PyPI, and the published operator.

All have the same weights and read the same rows, in turn; logits are compared first. MultiMolecule
runs in a process of its own, of the interpreter that `python` names, which may be in an environment
of its own:

    python -m venv peers && peers/bin/pip install multimolecule
    python -m experiments.speed peers python=peers/bin/python

A training step here is the forward pass, the mean cross-entropy of the next base and the backward
pass to all weights.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from backbone.common.errors import InputError
from backbone.common.files import write_text
from backbone.hyena import reference
from backbone.hyena.model import HyenaDNA
from backbone.hyena.zoo import load
from backbone.side_by_side import inside_operations
from backbone.tokens import NUCLEOTIDES
from experiments.speed.options import PeersOptions
from experiments.speed.prompt import prepare

OURS, PUBLISHED, PEER = "ours", "published", "multimolecule"
PHASES = ("forward", "train")
STEPS = Path(__file__).with_name("peer_steps.py")
CLOSE = 1e-4
"""Largest difference of logits, relative to the largest logit, of models that are the same."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        path: OURS, PUBLISHED or PEER.
        phase: One of PHASES.
        length: Bases of a row.
        batch: Rows of a step.
        ms_a_row: Elapsed milliseconds a row, the median over rounds.
        cpu_ms_a_row: Processor time a row.
        ratio: cpu_ms_a_row over ours.
        difference: Largest difference of a logit from ours, relative to the largest logit.
    """

    path: str
    phase: str
    length: int
    batch: int
    ms_a_row: float
    cpu_ms_a_row: float
    ratio: float
    difference: float


Taken = tuple[float, float]
"""Elapsed seconds and processor seconds."""


class Peer:
    """MultiMolecule's model in another process, with our weights."""

    def __init__(self, model: HyenaDNA, python: str, threads: int, place: Path) -> None:
        """Start the process and wait until it has loaded the weights.

        Raises:
            InputError: If it cannot be started, or MultiMolecule is not installed there.
        """
        weights = place / "peer.safetensors"
        save_file(peer_weights(model), weights)
        command = [python, str(STEPS), str(weights), json.dumps(peer_shape(model)), str(threads)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True,
            )  # fmt: skip
        except OSError as error:
            raise InputError(f"python={python}: cannot be started ({error.strerror})") from error
        self._name = python
        self._answer()

    def ask(self, **told: str) -> dict[str, Any]:
        """Tell the process what to do and return its answer."""
        assert self._process.stdin is not None
        print(json.dumps(told), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.startswith("{"):  # what libraries print
                continue
            found: dict[str, Any] = json.loads(line)
            if "error" not in found:
                return found
            self.close()
            raise InputError(
                f"python={self._name} has no MultiMolecule ({found['error']}): pip install "
                f"multimolecule there, or give the interpreter of an environment that has it"
            )
        self.close()
        raise InputError(f"python={self._name}: MultiMolecule ended early; try it by hand")


def peer_weights(model: HyenaDNA) -> dict[str, Tensor]:
    """Return the weights under MultiMolecule's names, which repeat the shared sine."""
    found: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("hyena.backbone.", "model.").replace(".ln_f.", ".final_layer_norm.")
        inner = range(1, 2 * model.config.num_inner_mlps + 2, 2) if name.endswith(".1.freq") else ()
        for place in inner or (0,):
            own = name.replace(".1.freq", f".{place}.freq") if inner else name
            found[own] = tensor.detach().clone()
    return found


def peer_shape(model: HyenaDNA) -> dict[str, Any]:
    """Return the shape under MultiMolecule's names, without dropout."""
    config = model.config
    return {
        "vocab_size": config.vocab_size,
        "pad_vocab_size_multiple": config.pad_vocab_size_multiple,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layer,
        "intermediate_size": config.d_inner,
        "max_position_embeddings": config.max_seq_len,
        "filter_emb_dim": config.emb_dim,
        "filter_order": config.filter_order,
        "num_inner_mlps": config.num_inner_mlps,
        "activation_freq": config.activation_freq,
        "short_filter_order": config.short_filter_order,
        "layer_norm_eps": config.layer_norm_epsilon,
        "embedding_dropout": 0.0,
    }


def measure_all(options: PeersOptions) -> Path:
    """Measure all lengths, write the table and return its path.

    Raises:
        InputError: If MultiMolecule is not there, or its logits differ, or the folder cannot be
            written.
    """
    prepare(options.threads, "cpu")
    model = load(options.backbone)
    table, rows = Path(options.out) / "speed_peers.csv", []
    with tempfile.TemporaryDirectory(prefix="peers-") as place:
        peer = Peer(model, options.python or sys.executable, options.threads, Path(place))
        try:
            for row in _rows(model, peer, options, Path(place)):
                rows.append(asdict(row))
                print(
                    f"{row.path:<13} {row.phase:<7} {row.length:>6,} bases  {row.ms_a_row:8.2f} ms "
                    f"a row, {row.ratio:.2f} times ours",
                    flush=True,
                )
                write_text(table, pd.DataFrame(rows).to_csv(index=False, float_format="%.4g"))
        finally:
            peer.close()
    return table


def _rows(model: HyenaDNA, peer: Peer, options: PeersOptions, place: Path) -> Iterator[Row]:
    file, into = str(place / "rows.safetensors"), str(place / "logits.safetensors")
    for length in options.lengths:
        batch = max(1, options.bases // length)
        generator = torch.Generator("cpu").manual_seed(length)
        letters = torch.tensor(NUCLEOTIDES, device="cpu")
        shape = batch, length
        index = torch.randint(len(letters), shape, generator=generator, device="cpu")
        ids = letters[index]
        save_file({"ids": ids}, file)
        peer.ask(what="logits", rows=file, into=into)
        differences = _differences(model, ids, load_file(into)["logits"])
        for phase in PHASES:
            model.requires_grad_(phase == "train")
            ways: dict[str, Callable[[], Taken]] = {
                OURS: partial(_step, OURS, model, ids),
                PUBLISHED: partial(_step, PUBLISHED, model, ids),
                PEER: partial(_asked, peer, phase, file),
            }
            turns = [{name: way() for name, way in ways.items()} for _ in range(options.rounds + 1)]
            taken = {
                name: [median(turn[name][i] for turn in turns[1:]) * 1e3 / batch for i in range(2)]
                for name in ways
            }
            for name, (elapsed, used) in taken.items():
                ratio = used / taken[OURS][1]
                yield Row(name, phase, length, batch, elapsed, used, ratio, differences[name])


def _differences(model: HyenaDNA, ids: Tensor, theirs: Tensor) -> dict[str, float]:
    """Return each path's largest difference of a logit from ours, relative to the largest logit.

    Raises:
        InputError: If one is not the same model.
    """
    with torch.no_grad():
        ours = model(ids).logits
        found = {OURS: ours, PUBLISHED: reference.logits(model, ids), PEER: theirs}
    largest = ours.abs().max()
    differences = {name: float((one - ours).abs().max() / largest) for name, one in found.items()}
    for name, difference in differences.items():
        if not difference < CLOSE:
            raise InputError(f"{name}: logits differ by {difference:.2g} of the largest one")
    return differences


def _step(path: str, model: HyenaDNA, ids: Tensor) -> Taken:
    """Time a forward pass, or a training step where weights are trained."""
    training = model.lm_head.weight.requires_grad
    start, used = time.perf_counter(), time.process_time()
    with inside_operations(), torch.set_grad_enabled(training):
        logits = model(ids).logits if path == OURS else reference.logits(model, ids)
        if training:
            F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
            model.zero_grad()
    return time.perf_counter() - start, time.process_time() - used


def _asked(peer: Peer, phase: str, file: str) -> Taken:
    answer = peer.ask(what=phase, rows=file)
    return answer["seconds"], answer["cpu_seconds"]
