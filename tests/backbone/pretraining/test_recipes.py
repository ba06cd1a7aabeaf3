"""The recipe by size: inside the paper's ranges, and every option of it can be given anew."""

import pytest

from backbone.common.errors import InputError
from backbone.common.options import read_options
from backbone.hyena.checkpoints import CHECKPOINTS
from backbone.pretrain import main
from backbone.pretraining.config import PretrainConfig, check_pretraining
from backbone.pretraining.optimization import rows_of_stages, stage_lengths
from backbone.pretraining.recipes import RECIPES, expand


def test_there_is_a_recipe_for_every_published_checkpoint():
    assert RECIPES.keys() == CHECKPOINTS.keys()


@pytest.mark.parametrize("size", RECIPES)
def test_recipes_lie_in_the_ranges_of_the_paper(size):
    config = read_options(PretrainConfig, expand([f"size={size}", "fasta=x.fa"]))
    check_pretraining(config)
    shape = CHECKPOINTS[size]
    assert (config.n_layer, config.d_model) == (shape.n_layer, shape.d_model)
    assert config.max_seq_len == shape.max_seq_len
    assert 1.5e-4 <= config.lr <= 6e-4
    assert 64 <= config.batch_tokens / config.max_seq_len <= 256
    assert 10_000 <= config.tokens / config.batch_tokens <= 20_000
    assert (config.weight_decay, config.embed_dropout, config.resid_dropout) == (0.1, 0.1, 0.0)
    lengths = stage_lengths(config.max_seq_len, config.first_length)
    assert 64 <= lengths[0] < 128
    rows = rows_of_stages(len(lengths), config.batch_tokens // config.max_seq_len)
    for a_length, next_length, a_rows, next_rows in zip(
        lengths, lengths[1:], rows, rows[1:], strict=False
    ):
        assert next_length in (2 * a_length, 2 * a_length + 1)
        assert a_rows == 2 * next_rows
    # Lengths are whole numbers, so a stage may have a little less than the batch.
    assert all(
        0.98 < n * length / config.batch_tokens <= 1
        for n, length in zip(rows, lengths, strict=True)
    )


def test_what_is_given_wins_over_the_recipe():
    words = ["lr=1e-5", "size=large-1m", "fasta=x.fa", "n_layer=3"]
    config = read_options(PretrainConfig, expand(words))
    assert (config.lr, config.n_layer, config.d_model) == (1e-5, 3, 256)
    assert config.gradient_checkpointing == "block"
    assert config.out == "runs/pretrain/large-1m"
    assert expand(["lr=1"]) == ["lr=1"]


def test_an_unknown_size_is_one_line(capsys):
    with pytest.raises(InputError, match="unknown size 'tiny-2k'; did you mean tiny-1k"):
        expand(["size=tiny-2k"])
    assert main(["size=huge", "fasta=x.fa"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown size 'huge'; known: tiny-1k")


def test_the_help_has_a_line_a_size(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "genomes.NAME.fasta=" in said
    for size, recipe in RECIPES.items():
        assert any(size in line and str(recipe.lr) in line for line in said.splitlines())
