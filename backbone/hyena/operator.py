"""The Hyena operator: implicit filter, short and long convolution, gating.

Source: Poli et al. 2023, "Hyena Hierarchy" (arXiv 2302.10866), section 3, in the form that HyenaDNA
publishes (Nguyen et al. 2023, arXiv 2306.15794, section 3): order 2, sine MLP filters under an
exponential window. Inside the operator tensors are channels first, (B, D, L), because transforms
run along the last axis.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbone.hooks import is_plain
from backbone.hyena.chunking import in_chunks
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.convolution import gated_convolution, long_convolution, short_filtered

# The window exp(-t |delta|) + SHIFT: the exponential reaches TARGET at t = FAST (and SLOW) of the
# context; the shift keeps every lag reachable.
TARGET, FAST, SLOW, SHIFT = 1e-2, 0.3, 1.5, 0.05


class Sine(nn.Module):
    """sin(frequency * x), with one learned frequency for each channel."""

    def __init__(self, width: int, frequency: float, learned: bool) -> None:
        """Start all channels at the same `frequency`."""
        super().__init__()
        start = torch.full((1, width), float(frequency), device=None)  # as all modules: torch's
        self.freq = nn.Parameter(start, requires_grad=learned)

    def forward(self, x: Tensor) -> Tensor:
        """Return sin(freq x), elementwise on (..., width)."""
        return torch.sin(self.freq * x)


class HyenaFilter(nn.Module):
    """The implicit filter: a sine MLP over positional features, under an exponential window.

    It has no buffers: positions follow from the configuration, so nothing can be lost when a
    checkpoint is saved or built on the meta device.
    """

    def __init__(self, config: HyenaDNAConfig) -> None:
        """Build the MLP; module names are those of the published checkpoints."""
        super().__init__()
        self.config = config
        width, inner = config.filter_order, config.num_inner_mlps
        layers: dict[str, nn.Module] = {"0": nn.Linear(config.emb_dim, width)}
        layers["1"] = Sine(width, config.activation_freq, config.train_freq)
        for i in range(inner):
            layers[str(2 * i + 2)] = nn.Linear(width, width)
        layers[str(2 * inner + 2)] = nn.Linear(width, config.d_model, bias=False)
        self.implicit_filter = nn.ModuleDict(layers)
        self.bias = nn.Parameter(torch.randn(config.d_model, device=None, dtype=None))

    def positions(self, length: int) -> tuple[Tensor, Tensor]:
        """Return features (L, emb_dim) and lag / max_seq_len (L, 1), in the filter's dtype.

        Poli et al. 2023, appendix D.3: the lag itself, then cosines and sines of `bands` low
        frequencies, all relative to `max_seq_len`.
        """
        n, bands = self.config.max_seq_len, (self.config.emb_dim - 1) // 2
        # The published grid has its last point at 1, so its step is 1 / (n - 1).
        t = self._grid(0, 1, n)[:length, None]
        angle = 2 * math.pi * self._grid(0, n - 1, n)[:length, None] / n
        phase = self._grid(1e-4, bands - 1, bands) * angle
        return torch.cat([t, torch.cos(phase), -torch.sin(phase)], dim=-1), t

    def decay(self) -> Tensor:
        """Return the decay rates (D,) of the exponential window, in units of 1 / max_seq_len."""
        slow, fast = math.log(TARGET) / SLOW, math.log(TARGET) / FAST
        return self._grid(slow, fast, self.config.d_model).abs()

    def _grid(self, start: float, end: float, steps: int) -> Tensor:
        return torch.linspace(start, end, steps, dtype=self.bias.dtype, device=self.bias.device)

    def forward(self, length: int) -> Tensor:
        """Return the filters for lags 0 .. length-1, (D, L), with the skip term in lag 0.

        The published operator adds `bias * x` to the convolution; adding the bias to the filter's
        first tap is the same, and saves a pass over the signal.
        """
        # Half precision would corrupt the phases and with them the filter.
        with torch.autocast(self.bias.device.type, enabled=False):
            return self._evaluate(length)

    def _evaluate(self, length: int) -> Tensor:
        features, t = self.positions(length)
        if not self.has_plain_layers():  # hooks see all lags at once
            return self._taps(features, t)
        return in_chunks(self._taps, features, t, modules=[self], dim=1)

    def has_plain_layers(self) -> bool:
        """Return whether the layers compute exactly what their classes define."""
        layers = dict(self.implicit_filter.items())
        return is_plain(Sine, layers.pop("1")) and is_plain(nn.Linear, *layers.values())

    def _taps(self, features: Tensor, t: Tensor) -> Tensor:
        """Return the filters (D, P) at P positions, whose lags are t (P, 1)."""
        sine = self.implicit_filter["1"]
        last = str(2 * self.config.num_inner_mlps + 2)
        hidden = features
        for name, layer in self.implicit_filter.items():
            if name not in ("1", last):
                hidden = sine(layer(hidden))
        window = torch.exp(-t[:, 0] * self.decay()[:, None]) + SHIFT
        # Positions are the rows of this product, so that a tap has the same last digits whatever
        # the number of taps, and cached states do not depend on how far filters have grown since.
        taps = self.implicit_filter[last](hidden).t() * window
        skip = self.bias[:, None] * (t[0] == 0)
        return torch.cat([taps[:, :1] + skip, taps[:, 1:]], dim=1)


class HyenaOperator(nn.Module):
    """Hyena of order 2 (Poli et al. 2023, equation 4).

    y = W_out (x0 * (h conv (x1 * v))), with x0, x1, v short-convolved projections of the input.
    """

    def __init__(self, config: HyenaDNAConfig) -> None:
        """Build projections and filters; module names are those of the published checkpoints."""
        super().__init__()
        d = config.d_model
        self.past = config.short_filter_order - 1  # positions that the short filter looks back
        self.in_proj = nn.Linear(d, 3 * d)
        self.out_proj = nn.Linear(d, d)
        self.short_filter = nn.Conv1d(3 * d, 3 * d, config.short_filter_order, groups=3 * d)
        self.filter_fn = HyenaFilter(config)

    def project(self, u: Tensor) -> Tensor:
        """Project (B, L, D) to (B, 3D, L), channels first, without a copy to transpose."""
        if not is_plain(nn.Linear, self.in_proj):
            return self.in_proj(u).transpose(1, 2)
        weight, bias = self.in_proj.weight, self.in_proj.bias
        assert bias is not None
        return torch.baddbmm(bias[:, None], weight.expand(len(u), -1, -1), u.transpose(1, 2))

    def gates(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the short filter to projections (B, 3D, w-1+L), w-1 earlier ones in front.

        Returns:
            The outer gate x0 and the gated signal x1 * v, (B, D, L) each.
        """
        short = self.short_filter
        if is_plain(nn.Conv1d, short):
            weight, bias = short.weight[:, 0].to(projected.dtype), short.bias
            assert bias is not None
            filtered = short_filtered(projected, weight, bias.to(projected.dtype))
        else:
            filtered = short(projected)
        x0, x1, v = filtered.chunk(3, dim=1)
        return x0, x1 * v

    def merge(self, gated: Tensor) -> Tensor:
        """Project gated (B, D, L) back to the residual stream, (B, L, D)."""
        if not is_plain(nn.Linear, self.out_proj):
            return self.out_proj(gated.transpose(1, 2))
        weight = self.out_proj.weight.t().expand(len(gated), -1, -1)
        return torch.baddbmm(self.out_proj.bias, gated.transpose(1, 2), weight)

    def forward(self, u: Tensor) -> Tensor:
        """Mix (B, L, D) along L, causally; return (B, L, D)."""
        taps, projected, short = self.filter_fn(u.shape[1]), self.project(u), self.short_filter
        if is_plain(nn.Conv1d, short):
            assert short.bias is not None
            gated = gated_convolution(projected, short.weight[:, 0], short.bias, taps)
        else:
            x0, signal = self.gates(F.pad(projected, (self.past, 0)))
            gated = x0 * long_convolution(signal, taps)
        return self.merge(gated)
