"""What training minimises, and which parameters decay meanwhile."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from backbone.hyena.model import HyenaDNA, filter_parameters
from backbone.pretraining.data import IGNORED

BETAS = (0.9, 0.999)
"""Of AdamW (Nguyen et al. 2023, table A.1)."""


def parameter_groups(model: HyenaDNA, weight_decay: float) -> list[dict[str, Any]]:
    """Divides the parameters: matrices and convolutions decay, the rest does not.

    Exempt are the implicit filters, norms, biases and embeddings (with the head tied to them).
    """
    exempt = filter_parameters(model)
    embedding = model.get_input_embeddings().weight
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in model.named_parameters():
        decays = name not in exempt and parameter.ndim > 1 and parameter is not embedding
        groups[0 if decays else 1].append(parameter)
    return [
        {"params": groups[0], "weight_decay": weight_decay},
        {"params": groups[1], "weight_decay": 0.0},
    ]


def loss_sum(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the summed cross-entropy in nats over the whole vocabulary, and the targets counted.

    Args:
        model: the language model.
        inputs: (B, L) token ids.
        targets: (B, L) token ids, -100 where not counted.
    """
    logits = model(inputs).logits.flatten(0, 1).float()
    counted = (targets != IGNORED).sum()
    return F.cross_entropy(logits, targets.flatten(), reduction="sum"), counted
