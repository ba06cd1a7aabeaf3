"""MultiMolecule's HyenaDNA in a process of its own, which `experiments.speed.peers` talks to.

It imports nothing of this repository, so that it runs in any environment that has MultiMolecule.
Called with a file of weights, the shape and the number of threads, it prints {} when it is ready,
or {"error": ...}, and then answers each line of standard input, a JSON object, by another.
"""

import json
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def main(weights: str, shape: str, threads: str) -> None:
    """Load the model and answer."""
    if find_spec("multimolecule") is None:
        print(json.dumps({"error": "no module of that name"}), flush=True)
        return
    try:
        import torch
        from safetensors.torch import load_file, save_file

        peer = import_module("multimolecule.models.hyenadna")
    except ImportError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    torch.set_num_threads(int(threads))
    model = peer.HyenaDnaForCausalLM(peer.HyenaDnaConfig(**json.loads(shape)))
    model.load_state_dict(load_file(weights))
    model.eval()
    print("{}", flush=True)
    for line in sys.stdin:
        told: dict[str, Any] = json.loads(line)
        ids = load_file(told["rows"])["ids"]
        if told["what"] == "logits":
            with torch.no_grad():
                save_file({"logits": model(ids).logits.contiguous()}, told["into"])
            print("{}", flush=True)
            continue
        start, used = time.perf_counter(), time.process_time()
        if told["what"] == "forward":
            with torch.no_grad():
                model(ids)
        else:
            logits = model(ids).logits[:, :-1].flatten(0, 1)
            torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()).backward()
            model.zero_grad()
        taken = time.perf_counter() - start, time.process_time() - used
        print(json.dumps({"seconds": taken[0], "cpu_seconds": taken[1]}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
