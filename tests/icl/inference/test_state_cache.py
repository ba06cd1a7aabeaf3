from collections.abc import Sequence

import torch

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from icl.inference import state_cache as memo
from icl.inference.state_cache import cached_states
from tests.devices import put


def model() -> HyenaDNA:
    return put(
        random_model(HyenaDNAConfig(d_model=8, n_layer=1, d_inner=8, max_seq_len=16), seed=0)
    )


class Encoder:
    """Gives length and share of A, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, sequences: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked += sequences
        lengths = [[len(sequence)] for sequence in sequences]
        shares = [sequence.count("A") / len(sequence) for sequence in sequences]
        return put(torch.tensor(lengths)), put(torch.tensor(shares))


def test_each_sequence_is_encoded_once_a_model_and_kind() -> None:
    encode, one, other = Encoder(), model(), model()
    length, share = cached_states(one, "length", ["AC", "G", "TTT", "AC"], encode, 8)
    assert length.tolist() == [[2], [1], [3], [2]]
    assert share.tolist() == [0.5, 0.0, 0.0, 0.5]
    assert cached_states(one, "length", ["G", "A"], encode, 8)[0].tolist() == [[1], [1]]
    assert encode.asked == ["AC", "G", "TTT", "A"]
    cached_states(other, "length", ["AC"], encode, 8)
    cached_states(one, "another kind", ["AC"], encode, 8)
    assert encode.asked == ["AC", "G", "TTT", "A", "AC", "AC"]


def test_older_rows_are_dropped_where_not_all_fit(monkeypatch) -> None:
    monkeypatch.setattr(memo, "KEPT_BYTES", 30)
    encode, kept = Encoder(), model()
    cached_states(kept, "text", ["A", "C"], encode, 10)
    cached_states(kept, "text", ["G", "C", "T"], encode, 10)
    assert cached_states(kept, "text", ["A"], encode, 10)[1].tolist() == [1.0]
    assert encode.asked == ["A", "C", "G", "C", "T", "A"]


def test_kinds_that_were_not_asked_for_longest_make_room(monkeypatch) -> None:
    monkeypatch.setattr(memo, "KEPT_BYTES", 40)
    encode, kept = Encoder(), model()
    for kind in ("first", "second"):
        cached_states(kept, kind, ["A", "C"], encode, 10)
    cached_states(kept, "first", ["A"], encode, 10)
    cached_states(kept, "third", ["G"], encode, 10)
    assert encode.asked == ["A", "C", "A", "C", "G"]
    cached_states(kept, "first", ["A", "C"], encode, 10)
    assert encode.asked == ["A", "C", "A", "C", "G"]
    cached_states(kept, "second", ["A"], encode, 10)
    assert encode.asked == ["A", "C", "A", "C", "G", "A"]


def test_a_caller_may_say_how_much_is_kept() -> None:
    encode, kept = Encoder(), model()
    cached_states(kept, "text", ["A", "C"], encode, 10, most=20)
    cached_states(kept, "text", ["G"], encode, 10, most=20)
    cached_states(kept, "text", ["A"], encode, 10, most=20)
    assert encode.asked == ["A", "C", "G", "A"]
    assert memo.fits(2, 10, 20) and not memo.fits(3, 10, 20)


def test_nothing_is_kept_while_a_module_has_a_hook() -> None:
    encode, one = Encoder(), model()
    cached_states(one, "length", ["AC"], encode, 8)
    handle = one.lm_head.register_forward_hook(lambda module, inputs, output: None)
    cached_states(one, "length", ["AC"], encode, 8)
    cached_states(one, "length", ["AC"], encode, 8)
    assert encode.asked == ["AC"] * 3
    handle.remove()
    cached_states(one, "length", ["AC"], encode, 8)
    assert encode.asked == ["AC"] * 3
