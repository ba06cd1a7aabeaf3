from backbone.config import HyenaDNAConfig
from backbone.model import HyenaDNA, random_model
from icl import memo
from icl.memo import remembered


def model() -> HyenaDNA:
    return random_model(HyenaDNAConfig(d_model=8, n_layer=1, d_inner=8, max_seq_len=16), seed=0)


def test_each_sequence_is_encoded_once_a_model_and_kind() -> None:
    asked: list[str] = []

    def encode(sequence: str) -> int:
        asked.append(sequence)
        return len(sequence)

    one, other = model(), model()
    assert remembered(one, "length", ["AC", "G", "AC"], encode, 8) == [2, 1, 2]
    assert remembered(one, "length", ["G", "TTT"], encode, 8) == [1, 3]
    assert asked == ["AC", "G", "TTT"]
    remembered(other, "length", ["AC"], encode, 8)
    remembered(one, "another kind", ["AC"], encode, 8)
    assert asked == ["AC", "G", "TTT", "AC", "AC"]


def test_older_values_are_dropped_where_not_all_fit(monkeypatch) -> None:
    monkeypatch.setattr(memo, "KEPT_BYTES", 30)
    asked: list[str] = []

    def encode(sequence: str) -> str:
        asked.append(sequence)
        return sequence

    kept = model()
    remembered(kept, "text", ["A", "C"], encode, 10)
    remembered(kept, "text", ["G", "T"], encode, 10)
    assert remembered(kept, "text", ["A"], encode, 10) == ["A"]
    assert asked == ["A", "C", "G", "T", "A"]
