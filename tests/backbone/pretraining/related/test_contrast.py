"""Questions of which class a window belongs to: their draw, their loss, and training on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import HyenaDNA, random_model
from backbone.pretrain import pretrain
from backbone.pretraining.config import PretrainConfig, check_pretraining
from backbone.pretraining.related.contrast import ContrastSource
from backbone.pretraining.related.contrast_loss import contrast_loss, read_behind
from backbone.pretraining.related.genomes import Genomes, Runs, Stretch
from backbone.pretraining.related.source import STREAMS
from backbone.tokens import NUCLEOTIDES, SEP
from tests.backbone.pretraining.pretraining import lines, pretrain_killed_once, tiny

PAIRED = [name for name in STREAMS if name != "plain"]


def random_codes(seed: int, length: int, letters: str = "ACGT") -> np.ndarray:
    text = "".join(np.random.default_rng(seed).choice(list(letters), size=length))
    return np.frombuffer(text.encode(), dtype=np.uint8)


@pytest.fixture
def two_genomes() -> Genomes:
    """One genome of A and T alone, and one of C and G alone; a third of both is masked."""
    masked = Runs(np.array([0, 5_000]), np.array([2_000, 6_000]))
    return Genomes(
        [
            Stretch("at", random_codes(0, 9_000, "AT"), masked),
            Stretch("cg", random_codes(1, 9_000, "CG"), masked),
        ]
    )


@pytest.fixture
def model() -> HyenaDNA:
    shape = HyenaDNAConfig(d_model=8, n_layer=2, d_inner=16, max_seq_len=128)
    return random_model(shape, 0).double()


def some_ids(seed: int, *shape: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.choice(NUCLEOTIDES, size=shape))


def test_queries_behind_contexts_are_read_as_whole_sequences_with_gradients(model):
    contexts, queries = some_ids(0, 3, 30), some_ids(1, 3, 4, 9)
    context_states, query_states = read_behind(model, contexts, queries)
    (context_states.square().sum() + query_states.square().sum()).backward()
    shared = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    rows = torch.cat([contexts[:, None].expand(-1, 4, -1), queries], dim=2)
    whole = model.encode(model.embed(rows.flatten(0, 1))).unflatten(0, (3, 4))
    torch.testing.assert_close(context_states, whole[:, 0, :30])
    torch.testing.assert_close(query_states, whole[:, :, 30:])
    (whole[:, 0, :30].square().sum() + whole[:, :, 30:].square().sum()).backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(shared[name], parameter.grad)


def test_the_loss_is_bayes_rule_on_the_likelihoods_of_whole_sequences(model):
    contexts, queries = some_ids(2, 2, 2, 21), some_ids(3, 2, 3, 7)
    contexts[..., -1] = SEP
    classes = torch.tensor([[0, 1, 1], [1, 0, 0]])

    def log_p(context: torch.Tensor, query: torch.Tensor) -> float:
        """Of all bases of the query but the first, over the four bases."""
        ids = torch.cat([context, query])
        logits = model(ids[None]).logits[0, :, list(NUCLEOTIDES)].log_softmax(-1)
        places = range(len(context) + 1, len(ids))
        return float(sum(logits[at - 1, NUCLEOTIDES.index(int(ids[at]))] for at in places))

    asked = by_hand = right = 0.0
    with torch.no_grad():
        for task in range(2):
            for query, own in zip(queries[task], classes[task], strict=True):
                scores = [log_p(contexts[task, c], query) for c in (0, 1)]
                asked += float(np.logaddexp(*scores)) - scores[own]
                by_hand -= scores[own]
                right += float(scores[own] > scores[1 - own])
            for context in contexts[task]:
                by_hand -= log_p(context[:1], context[1:-1]) + float(
                    model(context[None])
                    .logits[0, 0, list(NUCLEOTIDES)]
                    .log_softmax(-1)[NUCLEOTIDES.index(int(context[1]))]
                )
        found = contrast_loss(model, contexts, queries, classes)
    assert float(found.classes) == pytest.approx(asked)
    assert float(found.bases) == pytest.approx(by_hand)
    assert float(found.right) == right


def test_questions_are_a_function_of_the_step_and_have_one_shape(two_genomes):
    source = ContrastSource(two_genomes, {name: 1 / len(PAIRED) for name in PAIRED})
    for step in range(12):
        drawn = source.questions(20_000, 1024, seed=1, step=step)
        again = source.questions(20_000, 1024, seed=1, step=step)
        assert np.array_equal(drawn.contexts, again.contexts)
        assert np.array_equal(drawn.queries, again.queries)
        tasks, asked, bases = drawn.queries.shape
        contexts = drawn.contexts.reshape(tasks, 2, -1, bases + 1)
        assert (contexts[..., -1] == SEP).all()
        assert not (contexts[..., :-1] == SEP).any()
        assert drawn.contexts.shape[2] + bases <= 1024
        assert drawn.tokens <= 20_000 or tasks == 1
        assert drawn.classes.tolist() == [[0] * (asked // 2) + [1] * (asked // 2)] * tasks
        assert drawn.bases <= drawn.contexts.size + drawn.queries.size
    other = source.questions(20_000, 1024, seed=1, step=13)
    assert other.contexts.shape != drawn.contexts.shape or (other.contexts != drawn.contexts).any()


@pytest.mark.parametrize("name", PAIRED)
def test_a_pair_has_windows_of_the_lengths_asked_for(name, two_genomes):
    lengths, others = [40, 70, 55], [30, 60]
    pair = STREAMS[name](two_genomes).pair(np.random.default_rng(0), lengths, others)
    assert [[len(window) for window in side] for side in pair] == [lengths, others]


def test_a_pair_of_genomes_is_two_genomes(two_genomes):
    for seed in range(10):
        one, other = STREAMS["genome"](two_genomes).pair(
            np.random.default_rng(seed), [50] * 4, [50] * 4
        )
        letters = {frozenset(np.concatenate(side)) for side in (one, other)}
        assert letters == {frozenset(b"AT"), frozenset(b"CG")}


def test_an_enriched_pair_differs_and_two_draws_of_one_class_do_not():
    """Counts of the windows' bases: the two sides differ more than random windows do."""
    genomes = Genomes([Stretch("g", random_codes(5, 200_000))])

    def difference(name: str) -> float:
        found = []
        for seed in range(30):
            stream = STREAMS[name](genomes)
            pair = stream.pair(np.random.default_rng(seed), [100] * 12, [100] * 12)
            counts = [np.bincount(np.concatenate(side), minlength=85) / 1200 for side in pair]
            found.append(np.abs(counts[0] - counts[1]).sum())
        return float(np.mean(found))

    assert difference("enriched") > 1.5 * difference("genome")


def test_streams_without_classes_and_regions_that_are_too_short_are_refused(two_genomes):
    with pytest.raises(InputError, match="windows of plain share nothing"):
        ContrastSource(two_genomes, {"markov": 0.5, "plain": 0.5})
    short = ContrastSource(Genomes([Stretch("g", random_codes(0, 20))]), {"genome": 1.0})
    with pytest.raises(InputError, match=r"genome gives no windows of \d+ bases"):
        short.questions(5_000, 512, seed=0, step=0)


def related(folder, **options) -> PretrainConfig:
    given = {"source": "related", "valid_fasta": [], "max_seq_len": 128, "first_length": 64}
    return tiny(folder, **{**given, "contrast": 0.5, "contrast_tokens": 1_000, **options})


def test_training_with_questions_is_resumed_exactly_and_workers_change_nothing(tmp_path):
    whole = pretrain(related(tmp_path, out=str(tmp_path / "whole")))
    half = related(tmp_path, out=str(tmp_path / "half"), workers=2)
    again = pretrain_killed_once(half)
    one, other = (path / "model.safetensors" for path in (whole, again))
    assert one.read_bytes() == other.read_bytes()
    assert len(lines(str(tmp_path / "whole"), "class_loss")) == 12


def test_the_class_of_fixed_questions_can_be_learned():
    model = random_model(HyenaDNAConfig(d_model=32, n_layer=2, d_inner=64, max_seq_len=64), 0)
    contexts, queries = some_ids(4, 2, 2, 21), some_ids(5, 2, 4, 12)
    classes = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 0]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(150):
        found = contrast_loss(model, contexts, queries, classes)
        optimizer.zero_grad()
        found.classes.backward()
        optimizer.step()
    assert found.classes.item() < 0.5 * 8 * np.log(2)
    assert found.right.item() == 8


def test_memory_parts_change_the_weights_by_rounding_alone(tmp_path):
    models = [
        pretrain(related(tmp_path, out=str(tmp_path / name), micro_tokens=most, tokens=256 * 3))
        for name, most in (("one", None), ("parts", 256))
    ]
    one, other = (HyenaDNA.from_pretrained(model).state_dict() for model in models)
    for name, values in one.items():
        torch.testing.assert_close(values, other[name], rtol=1e-3, atol=1e-5)


def test_questions_need_related_windows(tmp_path):
    with pytest.raises(InputError, match="contrast= needs source=related"):
        check_pretraining(replace(related(tmp_path), source="windows"))
