import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backbone.hyena import chunking, convolution, mlp, reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.convolution import gated_convolution
from backbone.hyena.model import random_model
from backbone.hyena.operator import HyenaFilter
from tests.devices import device, put


def direct(projected: Tensor, weight: Tensor, bias: Tensor, taps: Tensor) -> Tensor:
    """The definition, sum by sum."""
    width, length = taps.shape
    size = weight.shape[1]
    columns = [
        bias
        + sum(
            weight[:, size - 1 - lag] * projected[..., t - lag] for lag in range(size) if lag <= t
        )
        for t in range(length)
    ]
    x0, x1, v = torch.stack(columns, dim=2).split(width, dim=1)
    z = x1 * v
    mixed = [sum(taps[:, t - s] * z[..., s] for s in range(t + 1)) for t in range(length)]
    return x0 * torch.stack(mixed, dim=2)


@settings(max_examples=25, deadline=None)
@given(
    length=st.integers(1, 24),
    rows=st.integers(1, 3),
    width=st.integers(1, 5),
    size=st.integers(1, 4),
    at_once=st.sampled_from([1, 128, 1 << 18]),
)
def test_values_and_gradients_equal_the_direct_sum(
    length: int, rows: int, width: int, size: int, at_once: int
) -> None:
    draw = torch.Generator().manual_seed(length)
    shapes = [(rows, 3 * width, length), (3 * width, size), (3 * width,), (width, length)]
    inputs = [put(torch.randn(s, generator=draw, dtype=torch.float64)) for s in shapes]
    for some in inputs:
        some.requires_grad_()
    cotangent = put(torch.randn(rows, width, length, generator=draw, dtype=torch.float64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "NUMBERS_AT_ONCE", {"cpu": at_once})
        ours, expected = gated_convolution(*inputs), direct(*inputs)
        assert torch.allclose(ours, expected, rtol=0, atol=1e-10)
        found = torch.autograd.grad((ours * cotangent).sum(), inputs)
    wanted = torch.autograd.grad((expected * cotangent).sum(), inputs)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


def test_frozen_filters_take_no_gradient_and_change_no_other() -> None:
    shapes = [(2, 12, 9), (12, 3), (12,), (4, 9)]
    inputs = [put(torch.randn(s, dtype=torch.float64)) for s in shapes]
    inputs[0].requires_grad_()
    gated_convolution(*inputs).sum().backward()
    expected = torch.autograd.grad(direct(*inputs).sum(), inputs[0])[0]
    assert torch.allclose(inputs[0].grad, expected, atol=1e-10)
    assert inputs[3].grad is None


def test_half_precision_is_convolved_in_single() -> None:
    inputs = [put(torch.randn(s)) for s in [(1, 6, 40), (6, 3), (6,), (2, 40)]]
    inputs[0] = inputs[0].bfloat16()
    found = gated_convolution(*inputs)
    expected = gated_convolution(inputs[0].float(), *inputs[1:])
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def loss_and_gradients(model, ids: Tensor, encode) -> list[Tensor]:
    model.zero_grad()
    logits = model.logits(encode(model.embed(ids)))
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    return [loss, *torch.autograd.grad(loss, list(model.parameters()))]


@pytest.mark.parametrize("whole", [4, 1 << 13])
def test_a_model_has_the_published_forms_loss_and_gradients(
    whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "WHOLE", whole)
    monkeypatch.setattr(mlp, "WHOLE", whole)
    monkeypatch.setattr(chunking, "CHUNK", {"cpu": 7})
    monkeypatch.setattr(convolution, "NUMBERS_AT_ONCE", {"cpu": 1})
    config = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=60, initializer_range=0.4)
    model = put(random_model(config, seed=0)).double()
    ids = put(torch.randint(7, 11, (3, 50)))
    found = loss_and_gradients(model, ids, model.encode)
    expected = loss_and_gradients(model, ids, lambda v: reference.encode(model, v))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


def test_filters_in_chunks_are_the_same_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    filters = HyenaFilter(HyenaDNAConfig(d_model=8, max_seq_len=64)).double()
    whole = filters(50)
    monkeypatch.setattr(chunking, "WHOLE", 1)
    monkeypatch.setattr(chunking, "CHUNK", {"cpu": 9})
    assert torch.allclose(filters(50), whole, rtol=0, atol=1e-12)


def test_chunks_keep_nothing_of_their_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "CHUNK", {"cpu": 100})
    kept: list[int] = []
    x = torch.randn(chunking.WHOLE + 1, 2, requires_grad=True, device=device())

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = chunking.in_chunks(lambda some: some.sin().exp(), x, modules=[])
    assert sum(kept) <= x.numel()
    result.sum().backward()
    assert torch.allclose(x.grad, x.detach().cos() * x.detach().sin().exp(), atol=1e-6)


@pytest.mark.parametrize("wanted", [True, False])
def test_gelu_and_its_slope_are_torchs(wanted: bool) -> None:
    x = torch.linspace(-12, 12, 401, dtype=torch.float64, requires_grad=True, device=device())
    expected = F.gelu(x, approximate="tanh")
    found = x.detach().clone()
    slope = mlp.gelu_(found, wanted)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    assert (slope is not None) == wanted
    if slope is not None:
        (derivative,) = torch.autograd.grad(expected.sum(), x)
        assert torch.allclose(slope, derivative, rtol=0, atol=1e-12)


def test_random_work_in_chunks_is_repeated_for_its_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunking, "WHOLE", 1)
    monkeypatch.setattr(chunking, "CHUNK", {"cpu": 3})
    x = torch.ones(20, 5, requires_grad=True, device=device())
    result = chunking.in_chunks(lambda some: F.dropout(some, 0.5), x, modules=[])
    result.sum().backward()
    assert 0 < int((result == 0).sum()) < 100
    assert torch.equal(x.grad, result.detach())  # each is 0 or 2, and so is its derivative
