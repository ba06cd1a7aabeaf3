"""Embeddings of layers: equal to a plain forward pass with hooks, whatever the neighbours."""

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from backbone.tokens import encode_dna
from icl.inference.embedding import check_backbone, embed, embed_sequences, layer_names, pieces
from tests.devices import put
from tests.icl.methods.test_methods import drawn, tiny_backbone

NAMES = ("embedding", "block_1", "block_2", "final_norm")


def hooked(model, sequence: str) -> dict[str, np.ndarray]:
    """Mean over positions of one strand, by hooks on the modules of `forward`, without padding."""
    found = {}

    def keep(name):
        def hook(module, inputs, output):
            found[name] = output[0].double().mean(dim=0).cpu().numpy()

        return hook

    modules = [
        model.get_input_embeddings(),
        *model.backbone.layers,
        model.backbone.ln_f,
    ]
    hooks = [m.register_forward_hook(keep(n)) for m, n in zip(modules, NAMES, strict=True)]
    with torch.no_grad():
        model(input_ids=put(torch.from_numpy(encode_dna(sequence).astype(np.int64)))[None])
    for one in hooks:
        one.remove()
    return found


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal to float32's precision of the layer's values, which are hundreds in these weights."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("strands", ["both", "forward"])
def test_layers_equal_a_forward_pass_with_hooks(strands):
    model = tiny_backbone()
    sequences = [example.sequence for example in drawn(6)]
    found = embed(model, sequences, strands=strands)
    assert tuple(found) == NAMES == layer_names(model)
    for row, sequence in enumerate(sequences):
        passes = [hooked(model, sequence)]
        if strands == "both":
            passes.append(hooked(model, reverse_complement(sequence)))
        for name in NAMES:
            expected = np.mean([one[name] for one in passes], axis=0)
            assert_close(found[name][row], expected)


def test_the_first_layer_is_composition_alone():
    model = tiny_backbone()
    found = embed(model, ["AACG", "GCAA"], ["embedding"], strands="forward")["embedding"]
    table = model.get_input_embeddings().weight.detach().double()
    a, c, g = (table[encode_dna(base)[0]].cpu().numpy() for base in "ACG")
    np.testing.assert_allclose(found, [(2 * a + c + g) / 4] * 2, atol=1e-7)


def test_a_row_does_not_depend_on_its_neighbours_nor_on_the_layers_asked_for():
    sequences = [example.sequence for example in drawn(9)]
    whole = embed(tiny_backbone(), sequences)
    alone = embed(tiny_backbone(), sequences[4:5], ["block_1"])
    assert list(alone) == ["block_1"]
    assert np.array_equal(alone["block_1"][0], whole["block_1"][4])
    assert np.array_equal(embed_sequences(tiny_backbone(), sequences), whole["final_norm"])


def test_long_sequences_are_read_in_equal_pieces_and_every_position_counts_once():
    model = tiny_backbone()
    most = model.config.max_seq_len
    sequence = "".join(np.random.default_rng(0).choice(list("ACGT"), 2 * most + 1))
    parts = pieces(sequence, most)
    assert "".join(parts) == sequence
    assert [len(part) for part in parts] == [134, 133, 134]
    found = embed(model, [sequence], strands="forward")
    for name in NAMES:
        expected = sum(len(part) * hooked(model, part)[name] for part in parts) / len(sequence)
        assert_close(found[name][0], expected)
    with pytest.raises(InputError, match="401 nucleotides exceed the 200"):
        embed_sequences(model, [sequence])


@pytest.mark.parametrize(("length", "count"), [(1, 1), (200, 1), (201, 2), (400, 2), (401, 3)])
def test_pieces_are_as_few_and_as_equal_as_can_be(length, count):
    lengths = [len(piece) for piece in pieces("A" * length, 200)]
    assert len(lengths) == count and sum(lengths) == length
    assert max(lengths) <= 200 and max(lengths) - min(lengths) <= 1


def test_unknown_layers_and_empty_rows_are_refused():
    with pytest.raises(InputError, match="no layer 'block_3'; .* embedding, block_1, block_2"):
        embed(tiny_backbone(), ["ACGT"], ["block_3"])
    with pytest.raises(InputError, match="row 2: the sequence is empty"):
        embed(tiny_backbone(), ["ACGT", ""])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_backbone_with_states_that_are_not_finite_is_refused(value):
    model = tiny_backbone()
    check_backbone(model, "ACGT")
    with torch.no_grad():
        model.get_input_embeddings().weight[7:11, 0] = value
    with pytest.raises(InputError, match="not finite"):
        check_backbone(model, "ACGTA")
