"""Rows behind contexts are the whole rows, in values and gradients, in every architecture.

The oracle is the model of transformers itself, called on the concatenated vectors.
"""

from pathlib import Path
from weakref import WeakSet

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from backbone.common.errors import InputError
from backbone.hf.contexts import TransformersContexts
from backbone.hf.model import TransformersModel
from backbone.models import branch_engine, context_engine, load, online
from backbone.protocol import Branches, ContextEngine, Targets
from backbone.tokens import NUCLEOTIDES, encode_dna
from tests.backbone.hf.tiny_models import VOCABULARY, save
from tests.devices import put

KINDS = ("gemma", "gpt2", "llama", "mamba", "mamba2", "mistral", "mixtral")
PLAIN = ("gpt2, plain", "llama, plain")
"""Architectures with a cache, read without it."""

START = {"gemma": ("<s>",), "llama": ("<s>",)}
WORDS = ["ACGTNACGGT", "TTGACGATCA", "CCGATTTAGG"]
IN_SINGLE = {"mamba", "mamba2"}
"""Architectures whose recurrence is computed in single precision, whatever the weights are."""

SINGLE_NORMS = {"gemma", "llama", "mistral", "mixtral"}
"""Architectures whose norms are: derivatives that are summed in another order differ."""


@pytest.fixture(scope="module", params=(*KINDS, *PLAIN))
def pair(request, tmp_path_factory):
    """A backbone, and the same model as transformers loads it, in double precision."""
    kind, _, plain = request.param.partition(", ")
    folder = save(kind, tmp_path_factory.mktemp(kind), START.get(kind, ()), seed=4)
    own = AutoModelForCausalLM.from_pretrained(folder, experts_implementation="eager")
    model = load(f"hf:{folder}").double()
    if plain:
        WITHOUT_CACHE.add(model)
    return model, own.double().eval().requires_grad_(False)


WITHOUT_CACHE: "WeakSet[TransformersModel]" = WeakSet()


def engine_of(model: TransformersModel) -> ContextEngine:
    return TransformersContexts(model) if model in WITHOUT_CACHE else context_engine(model)


def tolerance(model: TransformersModel) -> float:
    return 2e-5 if model.plain.config.model_type in IN_SINGLE else 1e-10


def slope_tolerance(model: TransformersModel) -> float:
    return 5e-6 if model.plain.config.model_type in SINGLE_NORMS else 20 * tolerance(model)


def ids_of(words: list[str]) -> Tensor:
    return torch.stack([put(torch.from_numpy(encode_dna(word))) for word in words])


def plain_logits(own, model: TransformersModel, vectors: Tensor) -> Tensor:
    """Logits of A, C, G, T and N by transformers alone, behind what the tokenizer starts with."""
    start = own.get_input_embeddings()(put(torch.tensor(model.vocabulary.start, dtype=torch.long)))
    row = torch.cat([start.expand(len(vectors), -1, -1), vectors], dim=1)
    logits = own(inputs_embeds=row, use_cache=False).logits[:, len(start) :]
    return logits[..., [VOCABULARY[letter] for letter in "ACGTN"]].double()


def letters_of(model: TransformersModel, hidden: Tensor) -> Tensor:
    return model.logits(hidden)[..., 7:12].double()


def test_tokens_are_those_of_the_tokenizer(pair):
    model, own = pair
    ids = put(torch.tensor([[VOCABULARY[letter] for letter in word] for word in WORDS]))
    torch.testing.assert_close(model.embed(ids_of(WORDS)), own.get_input_embeddings()(ids))
    logits = model.logits(model.encode(model.embed(ids_of(WORDS))))
    assert logits.shape[-1] == len(VOCABULARY) + len(model.absent)
    assert logits[..., list(model.absent)].isneginf().all()
    torch.testing.assert_close(
        model.letter_logits(
            model.encode(model.embed(ids_of(WORDS))), put(torch.tensor(NUCLEOTIDES))
        ),
        logits[..., list(NUCLEOTIDES)],
    )


def test_a_shared_prompt_gives_the_values_and_gradients_of_the_whole_row(pair):
    model, own = pair
    engine, ids = engine_of(model), ids_of(WORDS)
    prompt = put(torch.randn(4, model.config.d_model, dtype=torch.float64))
    weight = put(torch.randn(len(ids), ids.shape[1], 5, dtype=torch.float64))

    def through(found: Tensor, vectors: Tensor) -> Tensor:
        return torch.autograd.grad((found * weight).sum(), vectors)[0]

    one, other = prompt.clone().requires_grad_(), prompt.clone().requires_grad_()
    state = engine.extend(engine.extend(None, one[None, :1], 40), one[None, 1:], 30)
    found = letters_of(model, engine.encode(state, ids))
    row = torch.cat([other.expand(len(ids), -1, -1), model.embed(ids)], dim=1)
    expected = plain_logits(own, model, row)[:, len(prompt) :]
    most = tolerance(model)
    torch.testing.assert_close(found, expected, atol=most, rtol=most)
    gradients = through(found, one), through(expected, other)
    most = slope_tolerance(model)
    torch.testing.assert_close(*gradients, atol=most, rtol=10 * most)


def test_a_suffix_behind_rows_of_many_lengths_reads_each_row_whole(pair):
    model, own = pair
    engine, lengths = engine_of(model), put(torch.tensor([10, 4, 7]))
    ids = ids_of(WORDS)
    suffix = put(torch.randn(3, model.config.d_model, dtype=torch.float64)).requires_grad_()
    contexts = engine.extend(None, ids, 20, lengths=lengths)
    segment = suffix.expand(len(ids), -1, -1)
    last = letters_of(model, engine.encode_last(contexts, segment))
    further = engine.extend(contexts.rows(put(torch.tensor([2, 1]))), segment[:2], 5)
    after = letters_of(model, engine.encode(further, ids[:2, :2]))
    most = tolerance(model)
    for i, length in enumerate(lengths.tolist()):
        row = torch.cat([model.embed(ids[i, :length]), suffix])[None]
        expected = plain_logits(own, model, row)[0, -1]
        torch.testing.assert_close(last[i], expected, atol=most, rtol=most)
        grads = [
            torch.autograd.grad(x.sum(), suffix, retain_graph=True)[0] for x in (last[i], expected)
        ]
        slope = slope_tolerance(model)
        torch.testing.assert_close(*grads, atol=slope, rtol=10 * slope)
    for i, row in enumerate((2, 1)):
        vectors = [model.embed(ids[row, : lengths[row]]), suffix, model.embed(ids[i, :2])]
        expected = plain_logits(own, model, torch.cat(vectors)[None])[0, -2:]
        torch.testing.assert_close(after[i], expected, atol=most, rtol=most)


def test_rows_that_end_early_are_read_at_their_ends(pair):
    model, _ = pair
    engine, ids = engine_of(model), ids_of(WORDS)
    last = engine.encode_last(None, ids, lengths=put(torch.tensor([3, 10, 1])))
    whole = engine.encode(None, ids)
    expected = whole[put(torch.arange(3)), put(torch.tensor([2, 9, 0]))]
    torch.testing.assert_close(last, expected, atol=1e-6, rtol=1e-6)


def test_likelihoods_behind_contexts_are_sums_over_the_counted_letters(pair):
    model, _ = pair
    engine, ids = engine_of(model), ids_of(WORDS)
    prompts = put(torch.randn(2, 1, 3, model.config.d_model, dtype=torch.float64))
    letters = put(torch.tensor(NUCLEOTIDES))
    index, counted = put(torch.randint(4, ids.shape)), put(torch.rand(ids.shape)) < 0.7
    states = [engine.extend(None, prompt, 20) for prompt in prompts]
    found = engine.log_likelihood([*states, None], ids, Targets(letters, index, counted))
    for c, state in enumerate((*states, None)):
        log_p = model.letter_logits(engine.encode(state, ids), letters).log_softmax(-1)
        for row in range(len(ids)):
            terms = [log_p[row, t, index[row, t]] for t in range(10) if counted[row, t]]
            torch.testing.assert_close(found[row, c], sum(terms), atol=1e-6, rtol=1e-6)


def test_additions_change_the_inputs_of_later_layers_at_their_own_positions(pair):
    """Zeros change nothing; a small step along the gradient changes as much as it says."""
    model, _ = pair
    engine, ids = engine_of(model), ids_of(WORDS)
    prompt = put(torch.randn(1, 3, model.config.d_model, dtype=torch.float64))
    added = put(torch.randn(1, 3, model.config.d_model, dtype=torch.float64)).requires_grad_()
    weight = put(torch.randn(3, 10, model.config.d_model, dtype=torch.float64))

    def value(additions: Tensor | None) -> Tensor:
        state = engine.extend(None, prompt, 20, additions=additions)
        return (engine.encode(state, ids) * weight).sum()

    plain = value(None)
    torch.testing.assert_close(value(0 * added), plain, atol=1e-5, rtol=1e-5)
    assert abs(float(value(added) - plain)) > 1e-2
    (gradient,) = torch.autograd.grad(value(added), added)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        change = float(value(added + step) - value(added - step))
    assert change == pytest.approx(float(2e-2 * gradient.norm()), rel=2e-2)


def test_states_of_layers_end_with_what_logits_are_made_of(pair):
    model, _ = pair
    ids = ids_of(WORDS)
    states = list(model.layer_states(model.embed(ids)))
    assert [tuple(state.shape) for state in states] == [(3, 10, 16)] * 4
    assert torch.equal(states[-1], model.encode(model.embed(ids)))
    first = model.embed(ids)
    if model.plain.config.model_type in ("llama", "mamba", "mamba2", "mistral", "mixtral"):
        torch.testing.assert_close(states[0], first)


def test_branches_are_the_whole_sequences(pair):
    model, _ = pair
    engine = engine_of(model)
    vectors = put(torch.randn(2, model.config.d_model, dtype=torch.float64))
    branching = branch_engine(engine, vectors)
    after = branching.vector_ids
    ids = torch.cat([ids_of(WORDS), after.expand(3, -1)], dim=1)
    state = engine.extend(None, put(torch.randn(1, 2, 16, dtype=torch.float64)), 30)
    base = branching.base(state, ids, 3, first=2)
    words = torch.cat([model.embed(ids_of(WORDS)), vectors.expand(3, -1, -1)], dim=1)
    torch.testing.assert_close(base.hidden, engine.encode(state, words)[:, 2:])
    new = torch.cat([ids_of(["GATTACA"])[0], after])
    branches = Branches(put(torch.tensor([1, 1])), put(torch.tensor([4, 6])), new.expand(2, -1))
    found, last = branching.encode(base, branches), branching.encode_last(base, branches)
    (ends,) = branching.encode_ends(base, [branches])
    room = branching.extend(base, branches, 1)
    letter = ids_of(["T"]).expand(2, -1)
    following = engine.encode(room, letter)
    for i, start in enumerate((4, 6)):
        row = torch.cat([model.embed(ids_of([WORDS[1][:start] + "GATTACA"])), vectors[None]], dim=1)
        expected = engine.encode(state, row)[0]
        torch.testing.assert_close(found[i], expected[start:], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(last[i], expected[-1], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(ends[i], last[i])
        row = torch.cat([row, model.embed(letter[:1])], dim=1)
        expected = engine.encode(state, row)[0, -1:]
        torch.testing.assert_close(following[i], expected, atol=1e-6, rtol=1e-6)


def test_reading_token_by_token_gives_the_logits_of_the_whole_row(pair):
    model, _ = pair
    engine, ids = engine_of(model), ids_of(WORDS)
    context = engine.extend(None, put(torch.randn(1, 2, 16, dtype=torch.float64)), 30)
    for state in (None, context):
        reading = online(model, ids[:, :4], 6, state)
        found = torch.stack([reading.step(column) for column in ids[:, 4:].t()], dim=1)
        expected = model.logits(engine.encode(state, ids))[:, 4:]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        with pytest.raises(InputError, match="no room is left"):
            reading.step(ids[:, 0])


def test_a_row_that_is_longer_than_the_context_is_refused_with_the_numbers(pair):
    model, _ = pair
    engine, most = engine_of(model), model.config.max_seq_len
    vectors = put(torch.zeros(1, most + 1, 16, dtype=torch.float64))
    for read in (
        model.encode,
        lambda v: engine.encode(None, v),
        lambda v: engine.extend(None, v, 0),
    ):
        with pytest.raises(InputError, match=f"{most + 1} tokens exceed .* of {most}"):
            read(vectors)
    state = engine.extend(None, vectors[:, :5], 3)
    with pytest.raises(InputError, match="room: 3"):
        engine.encode(state, vectors[:, :4])


def test_offsets_of_a_hidden_state_are_refused(pair):
    model, _ = pair
    with pytest.raises(InputError, match="no long convolution"):
        engine_of(model).offset_state(put(torch.zeros(2, 16)), 4)


def test_context_of_a_model_that_starts_with_a_token_is_one_shorter(tmp_path: Path):
    plain, started = tmp_path / "plain", tmp_path / "started"
    models = [load(f"hf:{save('llama', f, s)}") for f, s in ((plain, ()), (started, ("<s>",)))]
    assert [model.config.max_seq_len for model in models] == [300, 299]
    assert [len(model.start()) for model in models] == [0, 1]


def test_kept_states_of_rows_of_many_lengths_are_read_as_the_rows_are(pair):
    """Rows are encoded one at a time, padded alike and stacked, as runs keep them."""
    model, _ = pair
    engine, ids = engine_of(model), ids_of(WORDS)
    if engine.kept_bytes(10, 4) is None:
        return
    prefix = engine.extend(None, put(torch.randn(1, 2, 16, dtype=torch.float64)), 30)
    lengths, positions = put(torch.tensor([10, 4, 7])), engine.kept_positions(12)
    suffix = put(torch.randn(3, 2, 16, dtype=torch.float64))
    rows = [
        engine.tensors(
            engine.extend(prefix, row[None, : length + 1], 4, length[None]), positions, 4
        )
        for row, length in zip(ids, lengths.clamp(max=9), strict=True)
    ]
    stacked = [torch.cat(parts) for parts in zip(*rows, strict=True)]
    kept = engine.restored(stacked, 12, 4)
    assert kept.count == 3 and kept.length == 12
    size = sum(t.numel() for t in stacked if t.is_floating_point()) // 3 * 4
    assert engine.kept_bytes(12, 4) == size
    found = engine.encode_last(kept, suffix)
    for i, length in enumerate(lengths.clamp(max=9).tolist()):
        row = torch.cat([model.embed(ids[i, :length]), suffix[i]])[None]
        expected = engine.encode(prefix, row)[0, -1]
        torch.testing.assert_close(found[i], expected, atol=1e-10, rtol=1e-10)
