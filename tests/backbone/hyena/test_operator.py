import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.convolution import fast_length, long_convolution
from backbone.hyena.model import random_model
from backbone.hyena.operator import HyenaFilter
from tests.devices import put

CONFIG = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=64)


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 40), more=st.integers(0, 9), seed=st.integers(0, 99))
def test_long_convolution_and_its_gradients_equal_the_direct_sum(
    length: int, more: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    signal = put(torch.randn(2, 3, length, generator=generator, dtype=torch.float64))
    filters = put(torch.randn(3, length + more, generator=generator, dtype=torch.float64))
    weight = put(torch.randn(2, 3, length + more, generator=generator, dtype=torch.float64))
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


def test_filter_is_not_computed_in_half_precision() -> None:
    filters = HyenaFilter(CONFIG)
    with torch.autocast("cpu", torch.bfloat16):
        inside = filters(30)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, filters(30))


def test_a_position_sees_no_later_one() -> None:
    model = put(random_model(CONFIG, seed=0)).eval()
    ids = put(torch.randint(7, 11, (1, 30)))
    changed = ids.clone()
    changed[0, 20:] = 7
    a, b = model(ids).logits, model(changed).logits
    assert torch.allclose(a[0, :20], b[0, :20], atol=1e-6)
    assert not torch.allclose(a[0, 20:], b[0, 20:], atol=1e-3)


def test_input_longer_than_the_context_is_refused_with_the_numbers() -> None:
    model = put(random_model(CONFIG, seed=0))
    with pytest.raises(InputError, match="65 tokens exceed this checkpoint's max_seq_len of 64"):
        model(put(torch.zeros(1, 65, dtype=torch.long)))


def test_loss_is_the_mean_cross_entropy_of_the_next_token() -> None:
    model = put(random_model(CONFIG, seed=0)).eval()
    ids = put(torch.randint(7, 11, (2, 9)))
    labels = ids.clone()
    labels[0, 4] = -100
    out = model(ids, labels=labels)
    logs = out.logits.detach().log_softmax(-1)
    terms = [-logs[b, t, ids[b, t + 1]] for b in range(2) for t in range(8) if (b, t + 1) != (0, 4)]
    assert torch.allclose(out.loss, torch.stack(terms).mean(), atol=1e-5)


@pytest.mark.parametrize("asked", [None, False, True])
def test_hidden_states_are_embeddings_and_each_blocks_output_the_last_one_normed(asked) -> None:
    model = put(random_model(CONFIG, seed=0)).eval()
    ids = put(torch.randint(7, 11, (2, 9)))
    found = model(ids, output_hidden_states=asked).hidden_states
    if not asked:
        assert found is None
        return
    first = reference.block(model.backbone.layers[0], model.embed(ids))
    expected = [model.embed(ids), first, reference.encode(model, model.embed(ids))]
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_configuration_can_ask_for_hidden_states_and_a_tuple_holds_them() -> None:
    config = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=64)
    config.output_hidden_states = True
    logits, states = put(random_model(config, seed=0)).eval()(
        put(torch.full((1, 5), 7)), return_dict=False
    )
    assert logits.shape == (1, 5, 16) and len(states) == 3


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.float32])
def test_a_mask_padded_on_the_right_changes_nothing_and_any_other_is_refused(dtype) -> None:
    model = put(random_model(CONFIG, seed=0)).eval()
    ids = put(torch.randint(7, 11, (3, 4)))
    right = put(torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=dtype))
    assert torch.equal(model(ids, attention_mask=right).logits, model(ids).logits)
    for row in ([0, 1, 1, 1], [1, 0, 1, 1]):
        wrong = put(torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], row], dtype=dtype))
        with pytest.raises(InputError, match="padding before a token"):
            model(ids, attention_mask=wrong)


def test_attentions_are_refused() -> None:
    with pytest.raises(InputError, match="has no attention"):
        put(random_model(CONFIG, seed=0))(put(torch.full((1, 5), 7)), output_attentions=True)
