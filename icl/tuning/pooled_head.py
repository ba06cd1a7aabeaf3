"""A copy of the backbone under a linear head on mean-pooled states: how it answers, any kind."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icl.inference.batches import Batch, EncodedSequences, both_strands
from icl.inference.reader import TOKENS
from icl.tuning.adapters import backbone_of
from icl.tuning.tuned_method import TunedConfigT, TunedMethod, cut_steps, in_parts
from tasks.task import Example, Kind, truth


class PooledHead(nn.Module):
    """Mean of the final hidden states over a row's own positions, then a linear head."""

    def __init__(self, model: nn.Module, outputs: int) -> None:
        """Starts with a head that says nothing: its weights are 0, so no draw is needed.

        Args:
            model: a copy of the backbone, with an adapter or without; its own head is not used.
            outputs: the number of classes or labels, or 1 for a number.
        """
        super().__init__()
        self.backbone = model
        self.head = nn.Linear(backbone_of(model).config.d_model, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Returns logits, or a number in units of the training rows, (B, O)."""
        model = backbone_of(self.backbone)
        hidden = model.encode(model.embed(batch.ids))
        inside = torch.arange(hidden.shape[1], device=hidden.device) < batch.lengths[:, None]
        mean = (hidden * inside[..., None]).sum(dim=1) / batch.lengths[:, None]
        return self.head(mean).float()


def loss_of(kind: Kind, outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of classes or of each label, or squared error, mean over rows.

    Args:
        kind: of the task.
        outputs: (B, O).
        labels: (B,) classes or numbers, or (B, L) of 0 and 1.
    """
    if kind == "classes":
        return F.cross_entropy(outputs, labels)
    if kind == "multi_label":
        return F.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype))
    return F.mse_loss(outputs[:, 0], labels.to(outputs.dtype))


def head_steps(
    method: TunedMethod[TunedConfigT], train: Sequence[Example], generator: np.random.Generator
) -> Iterator[Callable[[], Tensor]]:
    """Losses of an epoch's steps of a method whose module is `PooledHead`."""
    queries, kind = _queries(method, train), method.context.kind
    labels = truth(train)
    if kind == "regression":
        labels = (labels - method.unit[0]) / method.unit[1]

    def loss(rows: np.ndarray) -> Tensor:
        with method.autocast():
            outputs = method.module(queries.batch(rows).to(method.context.device))
        wanted = torch.from_numpy(labels[rows % len(labels)]).to(outputs.device)
        return loss_of(kind, outputs, wanted)

    for rows in cut_steps(queries, len(train), method.config.rows, generator):
        yield in_parts(loss, rows, queries)


def head_scores(method: TunedMethod[TunedConfigT], examples: Sequence[Example]) -> np.ndarray:
    """Scores of a method whose module is `PooledHead`, the strands' outputs averaged.

    Returns:
        Log-probabilities (N, C), log-odds (N, L) or numbers (N, 1), as in `tasks.kinds`.
    """
    queries = _queries(method, examples)
    outputs = np.zeros((len(queries), len(method.context.labels)))
    with torch.no_grad(), method.autocast():
        for batch in queries.batches(method.context.batch_size, tokens=TOKENS):
            found = method.module(batch.to(method.context.device))
            outputs[batch.rows] = found.double().cpu().numpy()
    averaged = outputs.reshape(-1, len(examples), outputs.shape[1]).mean(axis=0)
    if method.context.kind == "classes":
        return torch.from_numpy(averaged).log_softmax(-1).numpy()
    return averaged * method.unit[1] + method.unit[0]


def _queries(method: TunedMethod[TunedConfigT], examples: Sequence[Example]) -> EncodedSequences:
    sequences = [e.sequence for e in examples]
    both = both_strands(sequences) if method.config.strands == "both" else sequences
    return EncodedSequences(both, method.context.load_backbone().config.max_seq_len)
