"""Steps of the engine and of the model, timed in whichever checkout is on the path.

Run as a script by `experiments.speed commits`: its imports find modules where the first releases
had them, or where they are now; the earlier place comes first, as an installed version may provide
the later one. Prints one JSON object: seconds and minor page faults of each step, the medians.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from statistics import median
from types import ModuleType

import torch
import torch.nn.functional as F

TURN = 2.0
"""Seconds for which a step is repeated."""

TOKENS = (16, 512, 4096)
BATCH, LENGTH, BASES = 32, 500, (7, 11)


def first_of(*names: str) -> ModuleType:
    """Import the first module that this checkout has."""
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names[0])


def measured(step: Callable[[], object], rows: int) -> list[float]:
    """Return seconds a row and page faults a call, the medians, after one call."""
    step()
    seconds: list[float] = []
    faults: list[float] = []
    end = time.perf_counter() + TURN
    while time.perf_counter() < end or len(seconds) < 5:
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        step()
        seconds.append((time.perf_counter() - start) / rows)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return [median(seconds), median(faults)]


def measure_all(threads: int) -> dict[str, list[float]]:
    """Measure encoding on one thread's rows, steps after a prompt, and a pretraining step."""
    first_of("icl.machine", "icl.environment").prepare_arithmetic(threads, "cpu")
    torch.use_deterministic_algorithms(False)
    model = first_of("backbone.zoo", "backbone.hyena.zoo").load("bundled")
    model = model.requires_grad_(False).eval()
    engine = first_of("backbone.prefix", "backbone.engine.prefix").PrefixEngine(model)
    draw = torch.Generator("cpu").manual_seed(0)
    ids = torch.randint(*BASES, (BATCH, LENGTH), generator=draw, device="cpu")
    labels, lengths = (
        torch.arange(BATCH, device="cpu") % 2,
        torch.full((BATCH,), LENGTH, device="cpu"),
    )
    found = {}
    with torch.no_grad():
        found["encode, a row"] = measured(lambda: engine.encode(None, ids), BATCH)
        found["encode_last, a row"] = measured(lambda: engine.encode_last(None, ids), BATCH)
        found["extend, a row"] = measured(lambda: engine.extend(None, ids, 32, lengths), BATCH)
        found["extend, a row alone"] = measured(
            lambda: engine.extend(None, ids[:1], 32, lengths[:1]), 1
        )
    for tokens in TOKENS:
        prompt = model.embed(
            torch.randint(*BASES, (tokens,), generator=draw, device="cpu")
        ).requires_grad_()

        def train(prompt: torch.Tensor = prompt) -> None:
            prompt.grad = None
            hidden = engine.encode_last(engine.extend(None, prompt[None], LENGTH), ids)
            F.cross_entropy(model.logits(hidden)[:, :2], labels).backward()

        found[f"training step behind {tokens} vectors"] = measured(train, 1)
    with torch.no_grad():
        kept = engine.extend(None, ids, 32, lengths)
    vectors = model.embed(ids[:1, :17])[0].clone().requires_grad_()

    def tune() -> None:
        vectors.grad = None
        hidden = engine.encode_last(kept, vectors.expand(BATCH, -1, -1))
        F.cross_entropy(model.logits(hidden)[:, :2], labels).backward()

    found["training step of 17 vectors after kept rows"] = measured(tune, 1)
    model.requires_grad_()
    torch.set_num_threads(threads)  # operations of pretraining are shared in every version

    def pretrain() -> None:
        model.zero_grad()
        logits = model(ids[:8]).logits
        F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:8, 1:].flatten()).backward()

    found["pretraining step of 8 rows"] = measured(pretrain, 1)
    return found


if __name__ == "__main__":
    print(json.dumps(measure_all(int(sys.argv[1]))))
