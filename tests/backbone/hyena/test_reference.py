"""The oracle itself, against sums written out in NumPy from the papers' equations."""

import numpy as np
import torch

from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from tests.devices import put

CONFIG = HyenaDNAConfig(
    d_model=4, n_layer=2, d_inner=6, max_seq_len=20, filter_order=5, initializer_range=0.4
)
Weights = dict[str, np.ndarray]


def weights_of(model: HyenaDNA, prefix: str) -> Weights:
    return {
        name.removeprefix(prefix): value.detach().cpu().numpy()
        for name, value in model.named_parameters()
        if name.startswith(prefix)
    }


def direct_filter(w: Weights, length: int) -> np.ndarray:
    """Poli et al. 2023, appendix D.3: taps (L, D) without the skip term."""
    n, width = CONFIG.max_seq_len, CONFIG.d_model
    taps = np.empty((length, width))
    rates = np.abs(np.linspace(np.log(1e-2) / 1.5, np.log(1e-2) / 0.3, width))
    for lag in range(length):
        t, angle = lag / (n - 1), 2 * np.pi * lag / n
        z = [t, *(np.cos(f * angle) for f in (1e-4, 1)), *(-np.sin(f * angle) for f in (1e-4, 1))]
        hidden = np.array(z)
        for i in (0, 2, 4):
            affine = w[f"implicit_filter.{i}.weight"] @ hidden + w[f"implicit_filter.{i}.bias"]
            hidden = np.sin(w["implicit_filter.1.freq"][0] * affine)
        window = np.exp(-t * rates) + 0.05
        taps[lag] = (w["implicit_filter.6.weight"] @ hidden) * window
    return taps


def direct_operator(w: Weights, u: np.ndarray) -> np.ndarray:
    """Hyena of order 2 on (L, D): every convolution a sum over lags."""
    length, width = u.shape
    projected = u @ w["in_proj.weight"].T + w["in_proj.bias"]
    short = np.tile(w["short_filter.bias"], (length, 1))
    for t in range(length):
        for lag in range(min(t, 2) + 1):
            short[t] += w["short_filter.weight"][:, 0, 2 - lag] * projected[t - lag]
    x0, x1, v = np.split(short, 3, axis=1)
    z = x1 * v
    filter_weights = {k.removeprefix("filter_fn."): a for k, a in w.items() if "filter_fn" in k}
    h, y = direct_filter(filter_weights, length), np.empty((length, width))
    for t in range(length):
        y[t] = sum(h[t - s] * z[s] for s in range(t + 1)) + filter_weights["bias"] * z[t]
    return (x0 * y) @ w["out_proj.weight"].T + w["out_proj.bias"]


def layer_norm(w: Weights, name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    scale = np.sqrt(x.var(axis=1, keepdims=True) + CONFIG.layer_norm_epsilon)
    return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def direct_logits(model: HyenaDNA, ids: np.ndarray) -> np.ndarray:
    w = weights_of(model, "hyena.backbone.")
    words = w["embeddings.word_embeddings.weight"]
    hidden = words[ids]
    for i in range(CONFIG.n_layer):
        mixer = weights_of(model, f"hyena.backbone.layers.{i}.mixer.")
        hidden = hidden + direct_operator(mixer, layer_norm(w, f"layers.{i}.norm1", hidden))
        mlp = weights_of(model, f"hyena.backbone.layers.{i}.mlp.")
        inner = layer_norm(w, f"layers.{i}.norm2", hidden) @ mlp["fc1.weight"].T + mlp["fc1.bias"]
        active = inner / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        hidden = hidden + active @ mlp["fc2.weight"].T + mlp["fc2.bias"]
    return layer_norm(w, "ln_f", hidden) @ words.T


def trained_model() -> HyenaDNA:
    """A model whose norms and biases are not at their initial ones and zeros."""
    model = put(random_model(CONFIG, seed=0)).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = put(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
            parameter.add_(noise, alpha=0.1)
    return model


def test_the_reference_and_the_model_are_the_published_sums() -> None:
    model, ids = trained_model(), np.array([7, 8, 9, 10, 11, 10, 9, 7, 7, 8, 2, 1])
    expected = direct_logits(model, ids)
    rows = put(torch.from_numpy(ids))[None]
    for found in (reference.logits(model, rows), model(rows).logits):
        np.testing.assert_allclose(found[0].detach().cpu().numpy(), expected, rtol=0, atol=1e-10)


def test_the_filter_is_the_published_formula_with_the_skip_term_at_lag_zero() -> None:
    filters = trained_model().backbone.layers[1].mixer.filter_fn
    weights = {name: p.detach().cpu().numpy() for name, p in filters.named_parameters()}
    expected = direct_filter(weights, 15)
    expected[0] += weights["bias"]
    for found in (reference.long_filter(filters, 15), filters(15)):
        np.testing.assert_allclose(found.detach().cpu().numpy(), expected.T, rtol=0, atol=1e-12)


def test_the_last_logits_are_those_of_prompt_and_query_together() -> None:
    model, ids = trained_model(), put(torch.tensor([[7, 9, 10], [8, 8, 7]]))
    start = put(torch.tensor([10, 11]))
    found = reference.last_logits(model, model.embed(start), ids)
    whole = torch.cat([start.expand(2, -1), ids], dim=1)
    assert torch.allclose(found, reference.logits(model, whole)[:, -1], rtol=0, atol=1e-12)


def test_half_precision_is_transformed_in_the_precision_of_the_taps() -> None:
    signal = put(torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)))
    taps = put(torch.randn(3, 8, generator=torch.Generator().manual_seed(1)))
    half = reference.fft_convolution(signal.bfloat16(), taps)
    exact = reference.fft_convolution(signal.bfloat16().float(), taps)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, exact.bfloat16())
