"""A copy of the backbone under a linear head on mean-pooled states, for every kind of task."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.side_by_side import side_by_side
from icl.inference.batches import Batch, EncodedSequences
from icl.inference.query_set import TOKENS
from icl.tuning.adapters import backbone_of
from icl.tuning.loop import Step, in_parts
from icl.tuning.tuned_method import TunedConfigT, TunedMethod
from tasks.task import Example, Kind, truth


class PooledHead(nn.Module):
    """A linear head on the mean of the final hidden states over a row's own positions."""

    def __init__(self, model: nn.Module, outputs: int) -> None:
        """Start with weights of 0, so that all classes score alike and nothing is drawn.

        Args:
            model: A copy of the backbone, with an adapter or without; its own head is not used.
            outputs: The number of classes or labels, or 1 for a number.
        """
        super().__init__()
        self.backbone = model
        self.head = nn.Linear(backbone_of(model).config.d_model, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, or a number in units of the training rows, (B, O)."""
        model = backbone_of(self.backbone)
        hidden = model.encode(model.embed(batch.ids))
        inside = torch.arange(hidden.shape[1], device=hidden.device) < batch.lengths[:, None]
        mean = (hidden * inside[..., None]).sum(dim=1) / batch.lengths[:, None]
        return self.head(mean).float()


def loss_of(kind: Kind, outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over rows of cross-entropy, of classes or each label, or squared error.

    Args:
        kind: Kind of the task.
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
) -> Iterator[Step]:
    """Yield an epoch's steps of a method whose module is a `PooledHead`."""
    queries, kind = _queries(method, train), method.context.kind
    labels = truth(train)
    if kind == "regression":
        labels = (labels - method.unit[0]) / method.unit[1]

    def loss(rows: np.ndarray) -> Tensor:
        with method.autocast():
            outputs = method.module(queries.batch(rows).to(method.context.device))
        expected = torch.from_numpy(labels[rows % len(labels)]).to(outputs.device)
        return loss_of(kind, outputs, expected)

    for rows in queries.epoch(len(train), method.config.rows, generator):
        yield in_parts(loss, rows, queries, method.module)


def head_scores(method: TunedMethod[TunedConfigT], examples: Sequence[Example]) -> np.ndarray:
    """Return scores of a method whose module is a `PooledHead`, averaged over the strands.

    Returns:
        Log-probabilities (N, C), log-odds (N, L) or numbers (N, 1), as in `tasks.kinds`.
    """
    queries = _queries(method, examples)
    outputs = np.zeros((len(queries), len(method.context.labels)))
    with torch.no_grad(), method.autocast():

        def read(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
            found = method.module(batch.to(method.context.device))
            return batch.rows, found.double().cpu().numpy()

        for rows, found in side_by_side(read, queries.batches(method.context.batch_size, TOKENS)):
            outputs[rows] = found
    averaged = outputs.reshape(-1, len(examples), outputs.shape[1]).mean(axis=0)
    if method.context.kind == "classes":
        return torch.from_numpy(averaged).log_softmax(-1).numpy()
    return averaged * method.unit[1] + method.unit[0]


def _queries(method: TunedMethod[TunedConfigT], examples: Sequence[Example]) -> EncodedSequences:
    views = method.views([e.sequence for e in examples])
    return EncodedSequences(views, method.context.load_backbone().config.max_seq_len)
