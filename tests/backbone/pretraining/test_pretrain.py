"""The trainer: what decays, what counts, exact resumption, learning, and its command line."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backbone.common.errors import InputError
from backbone.hyena.tokenizer import ProteinTokenizer
from backbone.hyena.zoo import load
from backbone.pretrain import main, pretrain
from backbone.pretraining.config import PretrainConfig
from backbone.pretraining.data import GenomeSource, token_ids
from backbone.pretraining.markov import MarkovModel
from backbone.pretraining.trainer import (
    NonFiniteLossError,
    Trainer,
    loss_sum,
    parameter_groups,
)
from backbone.pretraining.windows import divide


@pytest.fixture(autouse=True)
def undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keeps indexes in the test's folder, and the number of threads as it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    """A tiny model on a genome of one motif of 12 bases, over and over, with a few changes."""
    random = np.random.default_rng(0)
    for name, repeats in (("train", 400), ("valid", 60)):
        bases = np.array(list("ACCGTTTAGGCA" * repeats))
        changed = random.random(len(bases)) < 0.03
        bases[changed] = random.choice(list("ACGT"), changed.sum())
        (tmp_path / f"{name}.fa").write_text(f">{name}\n{''.join(bases)}\n")
    return PretrainConfig(
        fasta=[str(tmp_path / "train.fa")],
        valid_fasta=[str(tmp_path / "valid.fa")],
        out=str(tmp_path / "run"),
        d_model=16,
        n_layer=2,
        max_seq_len=64,
        first_length=16,
        batch_tokens=256,
        tokens=256 * 12,
        checkpoint_every=256 * 4,
        valid_every=256 * 5,
        log_every=1,
        threads=1,
    )


def trainer_of(config: PretrainConfig, **options: object) -> Trainer:
    source = GenomeSource(divide(config.fasta, config.valid_fasta), config.max_unknown)
    return Trainer(config, source, **options)  # type: ignore[arg-type]


def lines(config: PretrainConfig, key: str) -> list[float]:
    text = (Path(config.out) / "metrics.jsonl").read_text()
    return [line[key] for line in map(json.loads, text.splitlines()) if key in line]


def test_what_decays(config: PretrainConfig) -> None:
    model = trainer_of(config).model
    decaying, exempt = (
        {name for name, p in model.named_parameters() if any(p is q for q in group["params"])}
        for group in parameter_groups(model, 0.1)
    )
    layer = "hyena.backbone.layers.0"
    mixer = {f"{layer}.mixer.{m}.weight" for m in ("in_proj", "out_proj", "short_filter")}
    assert {name for name in decaying if name.startswith(layer)} == mixer | {
        f"{layer}.mlp.{m}.weight" for m in ("fc1", "fc2")
    }
    assert all(name.startswith("hyena.backbone.layers") for name in decaying)
    assert decaying | exempt == {name for name, _ in model.named_parameters()}
    assert not decaying & exempt
    assert f"{layer}.mixer.filter_fn.implicit_filter.0.weight" in exempt
    assert [g["weight_decay"] for g in parameter_groups(model, 0.1)] == [0.1, 0.0]


def test_targets_that_are_n_do_not_count(config: PretrainConfig) -> None:
    model = trainer_of(config).model.eval()
    windows = np.frombuffer(b"ACNGT" + b"TTTAN", dtype=np.uint8).reshape(2, 5)
    rows = token_ids(windows)
    inputs, targets = torch.tensor(rows.inputs).long(), torch.tensor(rows.targets).long()
    assert inputs.tolist() == [[7, 8, 11, 9], [10, 10, 10, 7]]
    assert targets.tolist() == [[8, -100, 9, 10], [10, 10, 7, -100]]
    with torch.no_grad():
        total, counted = loss_sum(model, inputs, targets)
        logits = model(inputs).logits.double()
    by_hand = 0.0
    for row, position, token in (
        (0, 0, 8),
        (0, 2, 9),
        (0, 3, 10),
        (1, 0, 10),
        (1, 1, 10),
        (1, 2, 7),
    ):
        scores = logits[row, position]
        by_hand -= float(scores[token] - torch.log(torch.exp(scores).sum()))
    assert counted == 6
    assert float(total) == pytest.approx(by_hand, rel=1e-5)


def test_tokens_a_step_are_constant_while_windows_grow(config: PretrainConfig) -> None:
    config = replace(config, length_warmup=0.5)
    seen = [(status.length, status.tokens) for status in trainer_of(config).run()]
    assert [length for length, _ in seen] == [16] * 3 + [32] * 3 + [64] * 6
    assert [tokens for _, tokens in seen] == [256 * (i + 1) for i in range(12)]


def test_a_stopped_run_goes_on_exactly(config: PretrainConfig) -> None:
    config = replace(config, embed_dropout=0.2)
    whole, parts = (replace(config, out=f"{config.out}-{name}") for name in ("whole", "parts"))
    pretrain(whole)
    for status in trainer_of(parts).run():
        if status.step == 7:  # three steps after the checkpoint of step 4
            break
    resumed = trainer_of(parts)
    assert resumed.step == 4
    for _ in resumed.run():
        pass
    expected, found = (
        load(f"{whole.out}/model").state_dict(),
        load(f"{parts.out}/model").state_dict(),
    )
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for key in ("loss", "valid_perplexity", "final_valid_perplexity", "step"):
        assert lines(whole, key) == lines(parts, key)


def test_checkpoints_are_models_and_old_ones_go(config: PretrainConfig) -> None:
    pretrain(config)
    folders = sorted((Path(config.out) / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["step-00000008", "step-00000012"]
    last, final = load(str(folders[-1])), load(f"{config.out}/model")
    assert final.config.max_seq_len == 64
    for name, tensor in final.state_dict().items():
        assert torch.equal(tensor, last.state_dict()[name])


def test_resuming_with_other_options_names_them(config: PretrainConfig) -> None:
    pretrain(config)
    with pytest.raises(InputError, match="a run with lr=0.0006, not 0.1"):
        pretrain(replace(config, lr=0.1))


def test_a_damaged_checkpoint_is_one_line(config: PretrainConfig) -> None:
    pretrain(config)
    weights = Path(config.out, "checkpoints", "step-00000012", "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="step-00000012 is damaged"):
        trainer_of(config)


def test_learns_more_than_the_composition(config: PretrainConfig) -> None:
    config = replace(config, tokens=256 * 80, lr=1e-2, first_length=64, embed_dropout=0.0)
    pretrain(config)
    division = divide(config.fasta, config.valid_fasta)
    train, valid = (
        [division.genome.letters(region.record) for region in regions]
        for regions in (division.train, division.valid)
    )
    order_0 = MarkovModel(0).fit(train).perplexity(valid)
    assert order_0 > 3.5
    assert lines(config, "final_valid_perplexity")[-1] < 2.5


def test_a_budget_of_minutes_ends_the_run_and_its_schedule(config: PretrainConfig) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.5
        return now[0]

    config = replace(config, tokens=None, minutes=1.0)
    seen = list(trainer_of(config, clock=clock).run())
    assert 0.9 < seen[-1].progress <= 1.0
    assert seen[-1].seconds_left <= 6
    assert seen[-1].lr < 0.2 * config.lr
    assert seen[0].length == 16
    assert seen[-1].length == 64


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    config: PretrainConfig,
) -> None:
    trainer = trainer_of(config)
    run = trainer.run()
    for _ in range(5):
        next(run)
    with torch.no_grad():
        trainer.model.backbone.ln_f.weight[0] = math.nan
    others = trainer.model.backbone.ln_f.bias.clone()
    with pytest.raises(NonFiniteLossError, match=r"step 5.*last good checkpoint is .*step-0*4"):
        next(run)
    assert torch.equal(trainer.model.backbone.ln_f.bias, others)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("d_modl=8", "unknown option 'd_modl'; did you mean d_model?"),
        ("d_model=eight", "d_model: Value 'eight'"),
        ("d_model", "'d_model': options are given as NAME=VALUE"),
        ("d_model=-1", "d_model=-1: must be more than 0"),
        ("warmup=1.5", "warmup=1.5: must be 0 or more and less than 1"),
        ("precision=int8", "must be one of float32, bf16"),
        ("emb_dim=4", "emb_dim=4: must be odd"),
        ("batch_tokens=32", "batch_tokens=32 is smaller than one window of 64"),
        ("last_length=128", "last_length=128 exceeds max_seq_len=64"),
        ("fasta=/no/such.fa", "no FASTA file at '/no/such.fa'"),
        ("holdout=chrX", "no record 'chrX'"),
        ("out=/proc/run", "cannot write to /proc/run"),
        ("device=nowhere", "device=nowhere cannot be used"),
        ("max_seq_len=8192 batch_tokens=8192", "no region is long enough"),
        ("bed=/no/such.bed", "no BED file at"),
        ("tokens=null", "give a budget"),
        ("gradient_checkpointing=all", "must be one of none, block, mixer"),
        ("alphabet=morse", "alphabet=morse: must be one of dna, rna, protein"),
        (
            "alphabet=protein reverse_complement=true",
            "alphabet=protein has no complementary strand",
        ),
        ("max_soft_masked=2", "max_soft_masked=2.0: must be 0 or more and at most 1"),
        (
            "genomes.a.fasta=x.fa",
            "fasta= cannot be combined with genomes; write genomes.NAME.fasta=",
        ),
        ("holdout=1", "no record '1'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    config: PretrainConfig, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    given = f"fasta={config.fasta[0]} out={config.out} max_seq_len=64 tokens=64 threads=1"
    assert main([*given.split(), *change.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path(config.out).exists()


def test_resuming_names_all_that_differs(config: PretrainConfig) -> None:
    pretrain(config)
    other = replace(config, lr=0.1, seed=3, keep=5, valid_fasta=[])
    with pytest.raises(InputError, match=r"seed=0, not 3") as error:
        pretrain(other)
    assert "valid_fasta=" in str(error.value) and "keep" not in str(error.value)
    assert "\n" not in str(error.value)


def test_the_mean_of_a_line_survives_a_stop_between_two_lines(config: PretrainConfig) -> None:
    config = replace(config, log_every=5, keep=9)
    whole, parts = (replace(config, out=f"{config.out}-{name}") for name in ("whole", "parts"))
    pretrain(whole)
    for status in trainer_of(parts).run():
        if status.step == 6:
            break
    pretrain(parts)
    assert lines(whole, "loss") == lines(parts, "loss")
    pretrain(parts)  # a run that had ended says so once
    assert len(lines(parts, "final_valid_perplexity")) == 1


def test_a_diverging_run_says_in_which_stage(config: PretrainConfig) -> None:
    run = (trainer := trainer_of(replace(config, length_warmup=0.5))).run()
    for _ in range(4):
        next(run)
    with torch.no_grad():
        trainer.model.backbone.ln_f.weight[0] = math.inf
    with pytest.raises(NonFiniteLossError, match=r"at step 4, stage 2 of 3 \(windows of 32\)"):
        next(run)


def test_several_genomes_and_other_alphabets_train(config: PretrainConfig, tmp_path: Path) -> None:
    (tmp_path / "p.fa").write_text(">p\n" + "MKVLAAGIVGWY" * 20 + "\n>q\n" + "MKVLAAGI" * 20 + "\n")
    words = ["genomes.a.fasta=" + str(tmp_path / "p.fa"), "genomes.a.holdout=q", "alphabet=protein"]
    words += ["genomes.b.fasta=" + str(tmp_path / "p.fa"), "genomes.b.weight=2", "threads=1"]
    words += ["max_seq_len=64", "batch_tokens=64", "tokens=128", "d_model=8", f"out={config.out}"]
    assert main(words) == 0
    assert lines(config, "final_valid_perplexity.a") == lines(config, "final_valid_perplexity")
    assert not lines(config, "final_valid_perplexity.b")
    model = load(f"{config.out}/model")
    assert model.config.vocab_size == 28 and model.config.padded_vocab_size == 32
    ids = ProteinTokenizer.from_pretrained(f"{config.out}/model")("MKV")["input_ids"]
    assert model(torch.tensor([ids])).logits.shape == (1, 3, 32)


def test_command_line_trains_and_help_lists_options(
    config: PretrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"{config.out} (a, b=c)"
    given = (
        f"fasta=[{config.fasta[0]}] max_seq_len=64 batch_tokens=64 tokens=128 d_model=8 threads=1"
    )
    assert main([*given.split(), f"out={out}"]) == 0
    assert load(f"{out}/model").config.d_model == 8
    assert main(["--help"]) == 0
    assert "max_seq_len=1024" in capsys.readouterr().out


def test_a_budget_of_a_few_steps_warns_and_writes_its_metrics(config, capsys):
    config = replace(config, log_every=20, tokens=256 * 3)
    pretrain(config)
    said = capsys.readouterr().err
    assert "warning: tokens=768 is 3 steps of batch_tokens=256; a model needs hundreds" in said
    assert lines(config, "perplexity") and len(lines(config, "loss")) == 1
    assert lines(config, "step")[0] == 3


def test_a_model_that_is_worse_than_a_uniform_guess_is_said_to_be(config, capsys):
    config = replace(config, tokens=256, lr=1e-9)  # as initialised, over 12 tokens
    pretrain(config)
    (perplexity,) = lines(config, "final_valid_perplexity")
    assert perplexity > 4
    said = capsys.readouterr().err
    assert f"loss {math.log(perplexity):.4f} nats a letter on the held-out rows" in said
    assert "ln 4 = 1.3863" in said
    config = replace(config, out=f"{config.out}_longer", tokens=256 * 120, lr=1e-2)
    pretrain(config)
    assert lines(config, "final_valid_perplexity")[0] < 4
    assert capsys.readouterr().err == ""


def test_a_run_without_held_out_rows_is_judged_by_its_last_steps(config, capsys):
    pretrain(replace(config, valid_fasta=[], tokens=256, lr=1e-9))
    assert "nats a letter on the last steps, and ln 4" in capsys.readouterr().err
