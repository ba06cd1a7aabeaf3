import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.convolution import fast_length, long_convolution
from backbone.hyena.model import random_model
from backbone.hyena.operator import HyenaFilter

CONFIG = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=64)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40), more=st.integers(0, 9), seed=st.integers(0, 99))
def test_long_convolution_and_its_gradients_equal_the_direct_sum(
    length: int, more: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(2, 3, length, generator=generator, dtype=torch.float64)
    filters = torch.randn(3, length + more, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 3, length + more, generator=generator, dtype=torch.float64)
    signal.requires_grad_(), filters.requires_grad_()
    direct = torch.stack(
        [
            sum(filters[:, t - s] * signal[:, :, s] for s in range(min(t + 1, length)))
            for t in range(length + more)
        ],
        dim=-1,
    )
    ours = long_convolution(signal, filters)
    assert torch.allclose(ours, direct, atol=1e-10)
    expected = torch.autograd.grad((direct * weight).sum(), [signal, filters])
    found = torch.autograd.grad((ours * weight).sum(), [signal, filters])
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-9)


@given(st.integers(1, 100_000))
def test_fast_length_is_even_large_enough_and_a_product_of_2_3_5(least: int) -> None:
    n = fast_length(least)
    assert n >= least and n % 2 == 0 and n <= max(2, 1.25 * least + 2)
    for p in (2, 3, 5):
        while n % p == 0:
            n //= p
    assert n == 1


def test_filter_is_the_published_formula() -> None:
    filters = HyenaFilter(CONFIG).double()
    length, n = 20, 64
    t = np.arange(n) / (n - 1)
    angle = 2 * np.pi * np.arange(n) / n
    f = np.array([1e-4, 1.0])
    z = np.concatenate([t[:, None], np.cos(angle[:, None] * f), -np.sin(angle[:, None] * f)], 1)
    get = {name: p.detach().numpy() for name, p in filters.named_parameters()}
    freq = get["implicit_filter.1.freq"]
    hidden = z[:length]
    for i in (0, 2, 4):
        weight, bias = get[f"implicit_filter.{i}.weight"], get[f"implicit_filter.{i}.bias"]
        hidden = np.sin(freq * (hidden @ weight.T + bias))
    rates = np.abs(np.linspace(np.log(1e-2) / 1.5, np.log(1e-2) / 0.3, 8))
    taps = hidden @ get["implicit_filter.6.weight"].T
    taps = taps * (np.exp(-t[:length, None] * rates) + 0.05)
    taps[0] += get["bias"]
    assert np.allclose(filters(length).detach().numpy(), taps.T, atol=1e-7)


def test_filter_is_not_computed_in_half_precision() -> None:
    filters = HyenaFilter(CONFIG)
    with torch.autocast("cpu", torch.bfloat16):
        inside = filters(30)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, filters(30))


def test_a_position_sees_no_later_one() -> None:
    model = random_model(CONFIG, seed=0).eval()
    ids = torch.randint(7, 11, (1, 30))
    changed = ids.clone()
    changed[0, 20:] = 7
    a, b = model(ids).logits, model(changed).logits
    assert torch.allclose(a[0, :20], b[0, :20], atol=1e-6)
    assert not torch.allclose(a[0, 20:], b[0, 20:], atol=1e-3)


def test_input_longer_than_the_context_is_refused_with_the_numbers() -> None:
    model = random_model(CONFIG, seed=0)
    with pytest.raises(InputError, match="65 tokens exceed this checkpoint's max_seq_len of 64"):
        model(torch.zeros(1, 65, dtype=torch.long))


def test_loss_is_the_mean_cross_entropy_of_the_next_token() -> None:
    model = random_model(CONFIG, seed=0).eval()
    ids = torch.randint(7, 11, (2, 9))
    labels = ids.clone()
    labels[0, 4] = -100
    out = model(ids, labels=labels)
    logs = out.logits.detach().log_softmax(-1)
    terms = [-logs[b, t, ids[b, t + 1]] for b in range(2) for t in range(8) if (b, t + 1) != (0, 4)]
    assert torch.allclose(out.loss, torch.stack(terms).mean(), atol=1e-5)
