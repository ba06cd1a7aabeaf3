"""Vectors behind kept contexts, read at their last position, against whole sequences."""

import pytest
import torch

from backbone.engine.prefix import PrefixEngine
from backbone.hyena import reference
from backbone.hyena.kernels import forced
from backbone.hyena.tokenizer import DNATokenizer
from tests.backbone.engine.test_prefix import relative, tiny, vectors
from tests.devices import put

LENGTHS = [1, 2, 5, 30, 30, 17]


def rows_of_dna() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    letters = torch.tensor(DNATokenizer().convert_tokens_to_ids(list("ACGT")))
    ids = letters[torch.randint(4, (len(LENGTHS), max(LENGTHS)), generator=generator)]
    return put(ids), put(torch.tensor(LENGTHS))


@pytest.mark.parametrize("count", [2, 3, 9, 64, 65])
def test_values_and_gradients_equal_those_of_whole_sequences(count: int) -> None:
    model = tiny(depth=2)
    ids, lengths = rows_of_dna()
    end = vectors(count, seed=4).requires_grad_()
    with forced(True):
        engine = PrefixEngine(model)
        kept = engine.extend(None, ids, count, lengths=lengths)
        ours = engine.encode_last(kept, end.expand(len(ids), -1, -1))
    wholes = [
        torch.cat([model.embed(row[:n]), end])[None] for row, n in zip(ids, LENGTHS, strict=True)
    ]
    theirs = torch.cat([reference.encode(model, whole)[:, -1] for whole in wholes])
    assert relative(ours, theirs) < 1e-9
    weights = vectors(len(ids), seed=5)
    (mine,) = torch.autograd.grad((ours * weights).sum(), end)
    (other,) = torch.autograd.grad((theirs * weights).sum(), end)
    assert relative(mine, other) < 1e-9


def test_contexts_that_are_learned_get_their_gradients() -> None:
    model = tiny(depth=2)
    ids, lengths = rows_of_dna()
    end, prompt = vectors(9, seed=4).requires_grad_(), vectors(4, seed=6).requires_grad_()

    def gradients() -> tuple[torch.Tensor, ...]:
        engine = PrefixEngine(model)
        before = engine.extend(None, prompt[None], 40)
        kept = engine.extend(before, ids, 9, lengths=lengths)
        loss = engine.encode_last(kept, end.expand(len(ids), -1, -1)).square().sum()
        return torch.autograd.grad(loss, [prompt, end])

    with forced(True):
        ours = gradients()
    with forced(False):
        theirs = gradients()
    assert all(relative(a, b) < 1e-9 for a, b in zip(ours, theirs, strict=True))


def test_a_batch_scored_at_once_equals_its_parts() -> None:
    model = tiny(depth=2).float()
    ids = rows_of_dna()[0].repeat(20, 1)
    end = vectors(9, seed=4).float()
    with forced(True), torch.no_grad():
        engine = PrefixEngine(model)
        kept = engine.extend(None, ids, 9)
        whole = engine.encode_last(kept, end.expand(len(ids), -1, -1))
        parts = [
            engine.encode_last(part, end.expand(part.count, -1, -1)) for part in kept.split(24)
        ]
    torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-5, atol=1e-6)


def test_the_gradient_is_the_sum_of_that_of_every_row_however_rows_are_shared(monkeypatch) -> None:
    model, (ids, lengths) = tiny(depth=2), rows_of_dna()
    end, weights = vectors(9, seed=4).requires_grad_(), vectors(len(ids), seed=5)
    monkeypatch.setattr("backbone.engine.prefix._rows_at_once", lambda inputs: 4)  # then 2
    with forced(True):
        engine = PrefixEngine(model)
        kept = engine.extend(None, ids, 9, lengths=lengths)
        found = engine.encode_last(kept, end.expand(len(ids), -1, -1))
    (whole,) = torch.autograd.grad((found * weights).sum(), end)
    by_row = torch.zeros_like(whole)
    for row, length in enumerate(LENGTHS):
        alone = torch.cat([model.embed(ids[row, :length]), end])[None]
        last = reference.encode(model, alone)[0, -1]
        by_row += torch.autograd.grad((last * weights[row]).sum(), end)[0]
    assert relative(whole, by_row) < 1e-9


def test_a_second_derivative_of_one_pass_is_refused() -> None:
    """What the first one needed is freed with it, so a second would be wrong."""
    end = vectors(9, seed=4).requires_grad_()
    with forced(True):
        engine, (ids, lengths) = PrefixEngine(tiny(depth=2)), rows_of_dna()
        kept = engine.extend(None, ids, 9, lengths=lengths)
        found = engine.encode_last(kept, end.expand(len(ids), -1, -1)).sum()
    torch.autograd.grad(found, end, retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        torch.autograd.grad(found, end)
