"""A HyenaDNA that reads one token at a time, from a state instead of the whole sequence.

A causal convolution can be summed online: as soon as a block of inputs is known, one transform adds
its contribution to the outputs that follow directly. With blocks whose lengths are the powers of
two that divide the number of inputs, every pair of input and output is covered exactly once, and a
token costs O(D log^2 L) per layer on average, where a full pass costs O(D L log L). Source: van der
Hoeven 2002, "Relax, but don't be too lazy" (relaxed multiplication), section 4, as applied to Hyena
by Oncescu et al. 2024, "Flash Inference" (arXiv 2410.12982).
"""

import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.engine.layer import LayerState, run_block
from backbone.engine.prefix import PrefixEngine, PrefixState
from backbone.hyena.model import Block, HyenaDNA


class OnlineConvolution:
    """y[t] = sum over s <= t of h[t-s] x[s], for inputs that arrive one by one."""

    def __init__(self, taps: Tensor, before: Tensor) -> None:
        """Start without inputs.

        Args:
            taps: (D, M), the filters.
            before: (B, D, M), what earlier inputs add to the next M outputs.
        """
        self.taps, self.sums = taps, before.clone()
        self.inputs = torch.zeros_like(self.sums)
        self.count = 0
        self._spectra: dict[int, Tensor] = {}

    def step(self, x: Tensor) -> Tensor:
        """Take the next input (B, D) and return the output (B, D) at its position."""
        at = self.count
        self.inputs[..., at] = x
        output = self.sums[..., at] + self.taps[:, 0] * x
        self.count += 1
        self._add(self.count & -self.count)
        return output

    def _add(self, size: int) -> None:
        """Add what the last `size` inputs contribute to the next `size` outputs."""
        now = self.count
        end = min(now + size, self.sums.shape[2])
        if end == now:
            return
        # The second half of a cyclic convolution of twice the block's length never wraps.
        block_f = torch.fft.rfft(self.inputs[..., now - size : now], n=2 * size)
        added = torch.fft.irfft(block_f.mul_(self._spectrum(size)), n=2 * size)
        self.sums[..., now:end] += added[..., size : size + end - now]

    def _spectrum(self, size: int) -> Tensor:
        """Return the transform of the first 2 * size taps, which is kept."""
        if size not in self._spectra:
            self._spectra[size] = torch.fft.rfft(self.taps[:, : 2 * size], n=2 * size)
        return self._spectra[size]


class OnlineLayer:
    """One block that reads one position at a time."""

    def __init__(self, block: Block, taps: Tensor, state: LayerState, rows: int) -> None:
        """Start after a context.

        Args:
            block: The block.
            taps: (D, M), its filters.
            state: The context's state, with room for M positions.
            rows: B; a state of one row is shared.
        """
        self.block = block
        self.tail = state.tail.expand(rows, -1, -1)
        self.convolution = OnlineConvolution(taps, state.spill.expand(rows, -1, -1))

    def step(self, stream: Tensor) -> Tensor:
        """Map the residual stream (B, 1, D) at the next position to that after the block."""
        return run_block(self.block, self._operator, stream)

    def _operator(self, normed: Tensor) -> Tensor:
        mixer = self.block.mixer
        recent = torch.cat([self.tail, mixer.project(normed)], dim=2)
        self.tail = recent[..., 1:]
        x0, signal = mixer.gates(recent)
        mixed = self.convolution.step(signal[..., 0])
        return mixer.merge(x0 * mixed[..., None])


class OnlineModel:
    """A frozen model after a prompt; `step` returns the logits of a full pass, token by token."""

    @torch.no_grad()
    def __init__(
        self, model: HyenaDNA, prompt: Tensor, room: int, context: PrefixState | None = None
    ) -> None:
        """Encode the prompt in one pass.

        Args:
            model: The backbone; its weights must not change in the meantime.
            prompt: (B, P) token ids, which may be empty (P = 0).
            room: How many tokens may follow.
            context: What stands before the prompt, shared by all rows; None for nothing.

        Raises:
            InputError: If context, prompt and room exceed the model's max_seq_len.
        """
        rows = len(prompt)
        self.model, self.left = model, room
        engine = PrefixEngine(model)
        state = engine.extend(context, prompt, room=room)
        self.layers = [
            OnlineLayer(block, block.mixer.filter_fn(room), after, rows)
            for block, after in zip(engine.blocks, state.layers, strict=True)
        ]

    @torch.no_grad()
    def step(self, ids: Tensor) -> Tensor:
        """Read the next token of each row (B,); return the logits (B, V) of the one after it.

        Raises:
            InputError: If there is no room left.
        """
        if self.left == 0:
            raise InputError("no room is left for another token; ask for more room at the start")
        self.left -= 1
        stream = self.model.backbone.dropout(self.model.embed(ids[:, None]))
        for layer in self.layers:
            stream = layer.step(stream)
        return self.model.logits(self.model.backbone.ln_f(stream))[:, 0]
