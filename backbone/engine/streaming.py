"""A HyenaDNA that reads one token at a time, with a state in place of the whole sequence.

A causal convolution can be summed online: as soon as a block of inputs is known, its contribution
to the outputs right behind it is added by one transform. With blocks whose lengths are the powers
of two that divide the number of inputs, every pair of input and output is met exactly once, and a
token costs O(D log^2 L) a layer on average, where a full pass costs O(D L log L). Source: van der
Hoeven 2002, "Relax, but don't be too lazy" (relaxed multiplication), section 4, as applied to Hyena
by Oncescu et al. 2024, "Flash Inference" (arXiv 2410.12982).
"""

import torch
from torch import Tensor

from backbone.common.errors import InputError
from backbone.engine.prefix import LayerState, PrefixEngine
from backbone.hyena.model import Block, HyenaDNA


class OnlineConvolution:
    """y[t] = sum over s <= t of h[t-s] x[s], for inputs that arrive one after the other."""

    def __init__(self, taps: Tensor, before: Tensor) -> None:
        """Starts without inputs.

        Args:
            taps: (D, M), the filters.
            before: (B, D, M), what earlier inputs add to the next M outputs.
        """
        self.taps, self.sums = taps, before.clone()
        self.inputs = torch.zeros_like(self.sums)
        self.count = 0
        self._spectra: dict[int, Tensor] = {}

    def step(self, x: Tensor) -> Tensor:
        """Takes the next input (B, D) and returns the output (B, D) at its position."""
        at = self.count
        self.inputs[..., at] = x
        output = self.sums[..., at] + self.taps[:, 0] * x
        self.count += 1
        self._add(self.count & -self.count)
        return output

    def _add(self, size: int) -> None:
        """Adds what the last `size` inputs contribute to the next `size` outputs."""
        now = self.count
        end = min(now + size, self.sums.shape[2])
        if end == now:
            return
        # Of a cyclic convolution of twice the block's length, the second half never wraps.
        block_f = torch.fft.rfft(self.inputs[..., now - size : now], n=2 * size)
        added = torch.fft.irfft(block_f.mul_(self._spectrum(size)), n=2 * size)
        self.sums[..., now:end] += added[..., size : size + end - now]

    def _spectrum(self, size: int) -> Tensor:
        """Returns the transform of the first 2 * size taps, kept."""
        if size not in self._spectra:
            self._spectra[size] = torch.fft.rfft(self.taps[:, : 2 * size], n=2 * size)
        return self._spectra[size]


class OnlineLayer:
    """One block that takes one position at a time."""

    def __init__(self, block: Block, taps: Tensor, state: LayerState, rows: int) -> None:
        """Starts behind a context.

        Args:
            block: the block.
            taps: (D, M), its filters.
            state: the context's state, with room for M positions.
            rows: B; a state of one row is shared.
        """
        self.block = block
        self.tail = state.tail.expand(rows, -1, -1)
        self.convolution = OnlineConvolution(taps, state.spill.expand(rows, -1, -1))

    def step(self, stream: Tensor) -> Tensor:
        """Maps the residual stream (B, D) at the next position to that behind the block."""
        block, mixer = self.block, self.block.mixer
        projected = mixer.project(block.norm1(stream)[:, None])
        recent = torch.cat([self.tail, projected], dim=2)
        self.tail = recent[..., 1:]
        short = mixer.short_filter
        assert short.bias is not None
        x0, x1, v = ((recent * short.weight[:, 0]).sum(2) + short.bias).chunk(3, dim=1)
        mixed = self.convolution.step(x1 * v)
        stream = stream + mixer.merge((x0 * mixed)[..., None])[:, 0]
        return stream + block.mlp(block.norm2(stream))


class OnlineModel:
    """A frozen model behind a prompt; `step` gives the logits of the full pass, token by token."""

    @torch.no_grad()
    def __init__(self, model: HyenaDNA, prompt: Tensor, room: int) -> None:
        """Encodes the prompt in one pass.

        Args:
            model: the backbone; its weights must not change meanwhile.
            prompt: (B, P) token ids, which may be empty (P = 0).
            room: how many tokens may follow.

        Raises:
            InputError: if prompt and room exceed the model's max_seq_len.
        """
        rows = len(prompt)
        self.model, self.left = model, room
        engine = PrefixEngine(model)
        state = engine.extend(None, prompt, room=room)
        self.layers = [
            OnlineLayer(block, block.mixer.filter_fn(room), after, rows)
            for block, after in zip(engine.blocks, state.layers, strict=True)
        ]

    @torch.no_grad()
    def step(self, ids: Tensor) -> Tensor:
        """Reads the next token of each row (B,); returns the logits (B, V) of the one after it.

        Raises:
            InputError: if there is no room left.
        """
        if self.left == 0:
            raise InputError("no room is left for another token; ask for more room at the start")
        self.left -= 1
        stream = self.model.embed(ids)
        for layer in self.layers:
            stream = layer.step(stream)
        return self.model.logits(self.model.backbone.ln_f(stream))
