"""Fisher scores of sequences: gradients of their log-likelihood by what a class may change.

Source: Jaakkola and Haussler 1998, "Exploiting generative models in discriminative classifiers"
(NIPS 11), who classify protein sequences by U(x) = d/d theta log P(x | theta).

Under the channel readout a class c is a change theta_c of what the model computes, and two classes
are distinguished by log P(x | theta_1) - log P(x | theta_0) = (theta_1 - theta_0) U(x), up to terms
quadratic in the changes. A linear model of U(x) is therefore the channel readout of small changes,
and it is fitted by a convex problem, without epochs or a learning rate. What may change here:

- how A, C, G and T are read: an addition of D numbers to the embedding of each;
- a factor for every input of the feed-forward maps, as IA3 has (Liu et al. 2022, arXiv 2205.05638);
- how they are predicted: an addition of D numbers to the row of the head of each, whose derivative
  is the sum over positions t of (1[letter] - P(letter)) h_t, with h_t the final hidden state.
"""

import copy
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.letters import at_least_single
from backbone.protocol import LanguageModel
from backbone.sequence.dna import reverse_complement
from backbone.state_store import StateStore
from icl.inference.batches import EncodedSequences, check_lengths
from icl.inference.channel_scorer import ChannelScorer
from icl.inference.embedding import Precision
from icl.inference.likelihood import BUCKET
from icl.inference.state_cache import cached_states


def fisher_scores(
    model: LanguageModel,
    sequences: Sequence[str],
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    store: StateStore | None = None,
) -> np.ndarray:
    """Return the Fisher scores of sequences, averaged over both strands, (N, F) float64.

    F is 4 D for the embedding, the inputs of each feed-forward map, and 4 D for the head. As scores
    of the channel readout they are divided by the square root of the number of counted bases, and
    the first base does not count.

    Args:
        model: Frozen backbone.
        sequences: N sequences over ACGTN.
        device: Device of the model.
        precision: Number format of the backbone's arithmetic; sums over positions are float64 on a
            CPU.
        store: Where rows are looked for on disk, and written; None for nowhere.

    Raises:
        InputError: If a row is empty or longer than the model's context.
    """
    check_lengths(sequences, model.config.max_seq_len)
    derivative = _Derivative(model, device, precision)
    kind = f"fisher scores, both strands, {precision}"
    width = 8 * derivative.count
    return cached_states(model, kind, sequences, derivative, width, store=store)[0].numpy()


class _Derivative:
    """The Fisher score of one sequence; threads may share it."""

    def __init__(self, model: LanguageModel, device: str, precision: Precision) -> None:
        self._device, self._precision = device, precision
        # A copy that shares the weights: the model itself stays without hooks.
        shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
        self._model = copy.deepcopy(model, shared)
        self._scorer = ChannelScorer(self._model)
        self._noted = threading.local()
        self.count = 8 * model.config.d_model
        for name, module in self._model.named_modules():
            if any(f".{name}".endswith(f".{end}") for end in model.adapter_targets.feedforward):
                module.register_forward_pre_hook(self._note)
                self.count += _inputs(module)

    def _note(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Note the input of a feed-forward map."""
        self._noted.inputs.append(inputs[0])

    def __call__(self, sequences: Sequence[str]) -> tuple[Tensor]:
        """Return the scores (N, F) float64 of sequences, on the CPU."""
        return (torch.stack([self._score(sequence) for sequence in sequences]),)

    def _score(self, sequence: str) -> Tensor:
        """Return the score (F,) float64 of a sequence, on the CPU."""
        texts = [sequence, reverse_complement(sequence)]
        queries = EncodedSequences(texts, self._model.config.max_seq_len, bucket=BUCKET)
        batch = queries.batch(np.arange(2)).to(self._device)
        targets = self._scorer.targets(batch.ids, batch.lengths)
        self._noted.inputs = inner = list[Tensor]()
        half = self._precision == "bf16"
        with torch.enable_grad(), torch.autocast(self._device, torch.bfloat16, enabled=half):
            vectors = self._model.embed(batch.ids).detach().requires_grad_()
            hidden = self._model.encode(vectors)
            logits = at_least_single(self._model.letter_logits(hidden, targets.letters))
            terms = logits.log_softmax(-1).gather(2, targets.index[..., None])[..., 0]
            total = (terms * targets.counted).sum()
            read, *slopes = torch.autograd.grad(total, [vectors, *inner])
        surprise = F.one_hot(targets.index, 4) - logits.detach().softmax(-1)
        parts = [
            _by_letter((batch.ids[..., None] == targets.letters), read),
            *(_summed(x * slope) for x, slope in zip(inner, slopes, strict=True)),
            _by_letter(surprise * targets.counted[..., None], hidden),
        ]
        bases = targets.counted[0].sum().clamp(min=1).double().cpu()
        return torch.cat(parts) / (2 * bases.sqrt())


def _summed(values: Tensor) -> Tensor:
    """Return the sum over rows and positions of (B, L, K), in float64 on the CPU."""
    return values.detach().cpu().double().sum(dim=(0, 1))


def _by_letter(weights: Tensor, states: Tensor) -> Tensor:
    """Return states (B, L, D) summed with the weights (B, L, 4) of each letter, (4 D,)."""
    weights, states = weights.detach().cpu().double(), states.detach().cpu().double()
    return torch.einsum("blk,bld->kd", weights, states).flatten()


def _inputs(module: nn.Module) -> int:
    """Return the number of inputs of a linear map, as torch or as GPT-2 writes it."""
    weight = module.get_parameter("weight")
    return weight.shape[1] if isinstance(module, nn.Linear) else weight.shape[0]
