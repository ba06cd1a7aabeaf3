"""The convolutional baseline against the layers of the paper, written down a second time."""

import numpy as np
import pytest
import torch
from torch import nn

from backbone.common.errors import InputError
from icl.baselines.convolutional_network import PAD, SHORTEST, Network
from icl.method import Context
from icl.methods.catalog import METHODS
from tasks.task import Example


def as_published(network: Network, vectors: torch.Tensor) -> torch.Tensor:
    """The paper's layers one after another, on embedded letters (B, L, 100)."""
    layers: list[nn.Module] = []
    for convolution, norm in zip(network.convolutions, network.norms, strict=True):
        layers += [convolution, norm, nn.ReLU(), nn.MaxPool1d(2)]
    blocks = nn.Sequential(*layers, nn.Flatten(), network.dense, network.output)
    return blocks(vectors.transpose(1, 2))


def build(classes=2, **options):
    entry = METHODS.get("cnn")
    labels = tuple("abcdef"[:classes])
    return entry.cls(entry.config(name="cnn", **options), Context(labels, 0, lambda: None))


def rows_with_a_word(n, seed=0):
    """Class 1 holds ACGTGCA at three places; lengths differ."""
    generator = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        text = "".join(generator.choice(list("ACGT"), size=generator.integers(60, 90)))
        for at in generator.integers(0, 50, size=3 * (i % 2)):
            text = text[:at] + "ACGTGCA" + text[at + 7 :]
        rows.append(Example(text, i % 2))
    return rows


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_those_of_the_published_layers(classes):
    network = Network(80, classes).eval()
    with torch.no_grad():
        for norm in network.norms:
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
    letters = torch.randint(0, PAD + 1, (3, 80))
    vectors = torch.cat([network.embedding.weight, torch.zeros(1, 100)])[letters]
    expected = as_published(network, vectors)
    found = network(letters)
    if classes == 2:  # one neuron: its value against 0
        torch.testing.assert_close(found[:, 1:], expected, atol=1e-5, rtol=1e-5)
        assert found.shape == (3, 2) and not found[:, 0].any()
    else:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_shortest_row_leaves_one_position():
    assert Network(SHORTEST, 2).dense.in_features == 4
    with pytest.warns(UserWarning, match="zero-element"):
        assert Network(SHORTEST - 1, 2).dense.in_features == 0


def test_numbers_of_parameters_by_hand():
    method, rows = build(epochs=1), rows_with_a_word(8)
    method.fit(rows, rows)
    longest = max(len(e.sequence) for e in rows)
    left = (((longest - 7) // 2 - 7) // 2 - 7) // 2
    blocks = (100 * 8 + 3) * 16 + (16 * 8 + 3) * 8 + (8 * 8 + 3) * 4
    assert method.trainable_parameters == 500 + blocks + (4 * left + 1) * 512 + 513


def test_a_word_at_any_place_is_learned():
    rows = rows_with_a_word(400)
    method = build(epochs=12, lr=1e-2, rows=32)
    method.fit(rows[:300], rows[300:])
    assert method.validation["accuracy"] > 0.85


def test_a_score_is_the_same_to_the_last_bit_whatever_stands_beside_the_row():
    rows = rows_with_a_word(30)
    method = build(epochs=1)
    method.fit(rows, rows[:10])
    together = method.scores(rows)
    np.testing.assert_array_equal(method.scores(rows[::-1])[::-1], together)
    np.testing.assert_array_equal(method.scores(rows[3:4])[0], together[3])


def test_statistics_are_those_of_all_training_rows():
    rows = rows_with_a_word(40)
    method = build(epochs=2, rows=8)
    method.fit(rows, rows[:10])
    network = method._network
    with torch.no_grad():
        first = network._first(method._letters(rows))
    torch.testing.assert_close(network.norms[0].running_mean, first.mean(dim=(0, 2)))
    torch.testing.assert_close(network.norms[0].running_var, first.var(dim=(0, 2)))


def test_going_on_after_an_interruption_gives_the_undisturbed_network(tmp_path):
    rows, context = rows_with_a_word(40), Context(("a", "b"), 0, lambda: None)

    def fitted(folder, stop_after=None):
        def show(progress):
            if progress.epoch == stop_after:
                raise KeyboardInterrupt

        method = build(epochs=4, rows=8)
        method.context = Context(**{**vars(context), "run_dir": folder, "progress": show})
        method.fit(rows[:30], rows[30:])
        return method

    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path, stop_after=3)
    scores = [fitted(folder).scores(rows) for folder in (tmp_path, None)]
    np.testing.assert_array_equal(*scores)


def test_of_a_row_longer_than_the_training_rows_the_middle_is_read():
    rows = [Example("ACGT" * 20, 0), Example("AACC" * 20, 1)]
    method = build(epochs=1)
    method.fit(rows, rows)
    longer = Example("G" * 10 + "ACGT" * 20 + "T" * 10, 0)
    np.testing.assert_array_equal(method.scores([longer]), method.scores(rows[:1]))


def test_options_and_states_that_are_none_are_refused():
    with pytest.raises(InputError, match="method.lr=0"):
        build(lr=0).check([])
    with pytest.raises(InputError, match="no array length"):
        build().load_state({})
    with pytest.raises(InputError, match="the learned network has shapes"):
        build().load_state({"length": np.array(60)})
