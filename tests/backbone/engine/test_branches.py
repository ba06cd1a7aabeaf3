from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backbone.common.errors import InputError
from backbone.engine import branches as branching
from backbone.engine import cpu_substitutions
from backbone.engine.branch_states import BaseStates
from backbone.engine.branches import BranchEngine
from backbone.engine.prefix import PrefixEngine, PrefixState
from backbone.hyena import reference
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.kernels import forced
from backbone.hyena.model import HyenaDNA, random_model
from backbone.protocol import Branches
from backbone.side_by_side import use_threads
from tests.devices import put

WIDTH, ROOM = 8, 9


def tiny(depth: int) -> HyenaDNA:
    config = HyenaDNAConfig(
        d_model=WIDTH, n_layer=depth, d_inner=16, max_seq_len=90, initializer_range=0.4
    )
    return put(random_model(config, seed=depth)).double().requires_grad_(False).eval()


def vectors(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return put(torch.randn(*shape, WIDTH, generator=generator, dtype=torch.float64))


def bases(*shape: int, seed: int = 0) -> Tensor:
    return put(torch.randint(7, 12, shape, generator=torch.Generator().manual_seed(seed)))


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp(min=1e-30))


def substituted(ids: Tensor, row: int, start: int, count: int) -> Tensor:
    """Return what follows `start` in a row, each of the first `count` bases replaced."""
    tail = ids[row, start:].clone()
    tail[:count] = 7 + (tail[:count] - 7 + 1) % 4
    return tail


def check(model: HyenaDNA, prompt: Tensor, ids: Tensor, rows: list[int], starts: list[int],
          suffixes: list[Tensor]) -> None:  # fmt: skip
    """Hold branches of one length to the published form of the whole sequences."""
    engine = PrefixEngine(model)
    branch_engine = BranchEngine(engine)
    room = max(s + len(x) for s, x in zip(starts, suffixes, strict=True)) - ids.shape[1] + ROOM
    state: PrefixState | None = None
    if prompt.shape[1]:
        state = engine.extend(None, prompt, room=ids.shape[1] + max(room, ROOM))
    base = branch_engine.base(state, ids, max(room, ROOM))
    branches = Branches(put(torch.tensor(rows)), put(torch.tensor(starts)), torch.stack(suffixes))
    hidden = branch_engine.encode(base, branches)
    last = branch_engine.encode_last(base, branches)
    (end_by_end,) = branch_engine.encode_ends(base, [branches])
    after = branch_engine.extend(base, branches, ROOM)
    end = vectors(1, ROOM, seed=7)
    ended = engine.encode(after, end.expand(len(rows), -1, -1))
    for i, (row, start, suffix) in enumerate(zip(rows, starts, suffixes, strict=True)):
        whole = model.embed(torch.cat([ids[row, :start], suffix]))[None]
        expected = reference.encode(model, torch.cat([prompt, whole, end], dim=1))[0]
        at = prompt.shape[1] + start
        theirs = expected[at : at + len(suffix)]
        assert relative(hidden[i], theirs) < 1e-10
        assert relative(last[i], theirs[-1]) < 1e-10
        assert relative(end_by_end[i], theirs[-1]) < 1e-10
        assert relative(ended[i], expected[at + len(suffix) :]) < 1e-10
    plain = reference.encode(
        model, torch.cat([prompt.expand(len(ids), -1, -1), model.embed(ids)], dim=1)
    )
    assert relative(base.hidden, plain[:, prompt.shape[1] :]) < 1e-10


@pytest.fixture(params=["cpu", "modules"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways to leave a layer: the fast one of a CPU, and the model's own modules."""
    with forced(request.param == "cpu"):
        yield request.param


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("prompt", [0, 5])
@pytest.mark.parametrize("start", [0, 2, 11, 18, 19])
def test_a_substitution_equals_the_whole_sequence(
    way: str, depth: int, prompt: int, start: int
) -> None:
    ids = bases(3, 20)
    suffixes = [substituted(ids, row, start, count) for row, count in ((0, 1), (2, 1), (2, 0))]
    check(tiny(depth), vectors(1, prompt, seed=1), ids, [0, 2, 2], [start] * 3, suffixes)


@pytest.mark.parametrize("start", [0, 1, 11])
@pytest.mark.parametrize("length", [1, 2, 3, 9, 24])
def test_an_insertion_or_a_deletion_equals_the_whole_sequence(
    way: str, start: int, length: int
) -> None:
    ids = bases(2, 20)
    suffixes = list(bases(3, length, seed=5))
    check(tiny(2), vectors(1, 4, seed=1), ids, [1, 0, 1], [start] * 3, suffixes)


def test_substitutions_and_other_branches_go_together() -> None:
    ids = bases(2, 20)
    suffixes = [substituted(ids, 0, 6, 1), bases(14, seed=5), substituted(ids, 1, 6, 2)]
    check(tiny(2), vectors(1, 4, seed=1), ids, [0, 1, 1], [6, 6, 6], suffixes)


def test_branches_of_one_length_may_start_at_several_positions() -> None:
    ids = bases(2, 20)
    suffixes = [substituted(ids, 0, 8, 1), *bases(3, 12, seed=5)]
    check(tiny(2), vectors(1, 4, seed=1), ids, [0, 1, 0, 1], [8, 3, 11, 0], suffixes)


def test_a_context_of_each_row_is_its_own() -> None:
    model = tiny(2)
    engine = PrefixEngine(model)
    prompts, ids = vectors(2, 6, seed=1), bases(2, 20)
    base = BranchEngine(engine).base(engine.extend(None, prompts, room=20), ids, 0)
    suffixes = [substituted(ids, row, 4, 1) for row in (0, 1)]
    branches = Branches(put(torch.tensor([0, 1])), put(torch.tensor([4, 4])), torch.stack(suffixes))
    hidden = BranchEngine(engine).encode(base, branches)
    for row in (0, 1):
        letters = model.embed(torch.cat([ids[row, :4], suffixes[row]]))
        whole = torch.cat([prompts[row], letters])[None]
        assert relative(hidden[row], reference.encode(model, whole)[0, 10:]) < 1e-10


@settings(max_examples=30, deadline=None)
@given(
    start=st.integers(0, 19),
    count=st.integers(0, 12),
    rows=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    seed=st.integers(0, 99),
)
def test_branches_taken_a_few_at_a_time_equal_whole_sequences(
    start: int, count: int, rows: list[int], seed: int
) -> None:
    ids = bases(3, 20, seed=seed)
    suffixes = [substituted(ids, row, start, count) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(branching, "POSITIONS", 25)
        check(tiny(2), vectors(1, 3, seed=seed), ids, rows, [start] * len(rows), suffixes)


@pytest.mark.parametrize("together", [1, 40, 3072])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("prompt", [0, 5])
def test_ends_of_substitutions_at_all_positions_equal_whole_sequences(
    way: str, together: int, depth: int, prompt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_substitutions, "AT_ONCE", together)
    model, ids, front = tiny(depth), bases(3, 20), vectors(1, prompt, seed=1)
    engine = PrefixEngine(model)
    state = engine.extend(None, front, room=29) if prompt else None
    base = BranchEngine(engine).base(state, ids, ROOM)
    parts = []
    for start in (11, 0, 19, 4, 17, 13):
        places = torch.tensor([[2, start], [0, start], [2, start]])
        texts = [substituted(ids, row, start, count) for row, count in ((2, 1), (0, 3), (2, 0))]
        parts.append(Branches(places[:, 0], places[:, 1], torch.stack(texts)))
    rows, starts = torch.tensor([0, 1]), torch.tensor([3, 3])
    parts.append(Branches(rows, starts, bases(2, 17, seed=3)))  # more than a few positions differ
    parts.append(Branches(rows, starts, bases(2, 9, seed=4)))  # a deletion
    found = BranchEngine(engine).encode_ends(base, parts)
    for part, ends in zip(parts, found, strict=True):
        for row, start, suffix, end in zip(part.rows, part.starts, part.ids, ends, strict=True):
            letters = model.embed(torch.cat([ids[row, :start], suffix]))
            whole = torch.cat([front, letters[None]], dim=1)
            assert relative(end, reference.encode(model, whole)[0, -1]) < 1e-10


def test_substitutions_in_several_matrices_do_not_depend_on_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu_substitutions, "AT_ONCE", 40)  # a matrix holds two branches or three
    engine, ids = PrefixEngine(tiny(2)), bases(1, 20)
    base = BranchEngine(engine).base(None, ids, 0)
    parts = []
    for start in range(12):
        place = torch.tensor([0]), torch.tensor([start])
        parts.append(Branches(*place, substituted(ids, 0, start, 1)[None]))
    found = []
    for threads in (1, 2):
        use_threads(threads)
        found.append(torch.cat(BranchEngine(engine).encode_ends(base, parts)))
    assert torch.equal(*found)


def test_hidden_states_of_the_base_begin_where_they_are_wanted() -> None:
    engine, ids = PrefixEngine(tiny(2)), bases(2, 20)
    whole = BranchEngine(engine).base(None, ids, 0)
    later = BranchEngine(engine).base(None, ids, 0, first=13)
    assert later.hidden.shape == (2, 7, WIDTH)
    assert relative(later.hidden, whole.hidden[:, 13:]) < 1e-12


def test_a_branch_that_needs_more_room_is_an_error_with_the_numbers() -> None:
    engine, ids = PrefixEngine(tiny(1)), bases(1, 20)
    base: BaseStates = BranchEngine(engine).base(None, ids, 2)
    branches = Branches(put(torch.tensor([0])), put(torch.tensor([4])), bases(1, 19))
    with pytest.raises(InputError, match="needs 3 positions more .* room for 2"):
        BranchEngine(engine).encode(base, branches)
    with pytest.raises(InputError, match="91 tokens exceed this checkpoint's max_seq_len of 90"):
        BranchEngine(engine).base(None, ids, 71)


def test_a_model_with_hooks_is_refused() -> None:
    model = tiny(1)
    handle = model.backbone.layers[0].register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match="the model has hooks"):
        BranchEngine(PrefixEngine(model))
    handle.remove()
    assert BranchEngine.supports(model)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("start", [0, 18, 19])
def test_vectors_with_additions_may_stand_behind_the_sequences(depth: int, start: int) -> None:
    model = tiny(depth)
    engine, ids, ending = PrefixEngine(model), bases(2, 20), vectors(4, seed=3)
    additions = vectors(depth - 1, 4, seed=4)
    branch_engine = BranchEngine(engine, ending, additions)
    followed = torch.cat([ids, branch_engine.vector_ids.expand(2, -1)], dim=1)
    base = branch_engine.base(None, followed, 3, first=followed.shape[1] - 1)
    for count, suffix in ((1, followed[1, start:].clone()), (0, followed[1, start - 3 :].clone())):
        if count:
            suffix[0] = 7 + (suffix[0] - 6) % 4
        elif start < 3:
            continue
        branches = Branches(put(torch.tensor([1])), put(torch.tensor([start])), suffix[None])
        letters = model.embed(torch.cat([ids[1, :start], suffix[:-4]]))
        nothing = vectors(depth - 1, len(letters), seed=0) * 0
        whole = torch.cat([letters, ending])[None]
        expected = reference.encode(model, whole, torch.cat([nothing, additions], dim=1))[0]
        assert relative(branch_engine.encode_last(base, branches)[0], expected[-1]) < 1e-10
        assert relative(branch_engine.encode(base, branches)[0], expected[start:]) < 1e-10
    own = torch.cat([model.embed(ids[0]), ending])[None]
    nothing = vectors(depth - 1, 20, seed=0) * 0
    expected = reference.encode(model, own, torch.cat([nothing, additions], dim=1))[0]
    assert relative(base.hidden[0, -1], expected[-1]) < 1e-10
