"""Every mistake a user can make is one line that helps, exit code 2, and nothing on disk."""

import gzip
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from backbone.hyena.config import HyenaDNAConfig
from backbone.hyena.model import random_model
from experiments import curve
from icl import predict, run

HEADER = "sequence\tlabel\n"
ROWS = [f"{'ACGT' * 5}{'ACGT'[i % 4] * (i + 1)}\t{i % 2}\n" for i in range(40)]
TABLES = {
    "good.tsv": HEADER + "".join(ROWS),
    "columns.tsv": "seq\tclass\nACGT\t0\n",
    "header_only.tsv": HEADER,
    "empty.tsv": "",
    "label.tsv": HEADER + "".join(ROWS) + "ACGT\t7\n",
    "letter.tsv": HEADER + ROWS[0] + "ACGJ\t1\n",
    "blank.tsv": HEADER + ROWS[0] + "\t1\n",
    "rare.tsv": HEADER + "".join(ROWS[::2]) + ROWS[1],
    "table.xlsx": "PK",
}


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder of tables, and of checkpoints that are damaged in one way each."""
    root = tmp_path_factory.mktemp("mistakes")
    for name, text in TABLES.items():
        (root / name).write_text(text)
    packed = gzip.compress(TABLES["good.tsv"].encode())
    (root / "cut.tsv.gz").write_bytes(packed[: len(packed) // 2])
    (root / "empty").mkdir()
    shape = {"d_model": 8, "n_layer": 2, "d_inner": 16, "max_seq_len": 128}
    random_model(HyenaDNAConfig(**shape), seed=0).save_pretrained(root / "tiny")
    tensors = load_file(root / "tiny" / "model.safetensors")
    config = json.loads((root / "tiny" / "config.json").read_text())
    name = "hyena.backbone.layers.1.mlp.fc1.weight"

    def broken(folder, tensors=tensors, **changes):
        (root / folder).mkdir()
        (root / folder / "config.json").write_text(json.dumps({**config, **changes}))
        save_file(tensors, root / folder / "model.safetensors")

    broken("missing", {k: v for k, v in tensors.items() if k != name})
    broken("extra", {**tensors, "surplus": torch.zeros(1)})
    broken("misshapen", {**tensors, name: torch.zeros(3, 8)})
    broken("text_width", d_model="wide")
    broken("no_layers", n_layer=0)
    broken("cut_off")
    cut = root / "cut_off" / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    return root


SOFT = "task=tiny_rows method=soft_prompt threads=1 backbone={place}/tiny"
TABLE = "task=enhancer_cohn method=gc_only data={place}/"
PROBE = "task=tiny_rows method=linear_probe backbone="
MISTAKES = {
    "task": ("task=enhancer_chon method=gc_only", ["'enhancer_chon'", "mean enhancer_cohn?"]),
    "method": ("task=tiny_rows method=soft_promt", ["'soft_promt'", "mean soft_prompt?"]),
    "option": (SOFT + " prompt_token=3", ["'prompt_token'", "mean prompt_tokens?"]),
    "method option": (SOFT + " method.lrr=1", ["'method.lrr'", "mean method.lr?"]),
    "k negative": (SOFT + " k=-1", ["k=-1", "0 or more"]),
    "k text": (SOFT + " k=abc", ["k:", "'abc'", "Integer"]),
    "k fraction": (SOFT + " k=1.5", ["k:", "'1.5'"]),
    "k too large": (
        SOFT + " k=1000000",
        ["1000000 prompt tokens", "40 nucleotides", "1000042", "max_seq_len of 128", "give k="],
    ),
    "k one too large": (SOFT + " k=87", ["129 tokens", "128", "k=86 or less"]),
    "k disagrees": (SOFT + " k=4 prompt_tokens=5", ["k=4", "prompt_tokens=5", "disagree"]),
    "shots": (SOFT + " shots=5", ["10 demonstrations", "430 tokens", "112", "fewer shots"]),
    "data absent": (TABLE + "nowhere", ["nowhere", "does not exist"]),
    "data empty": (TABLE + "empty", ["empty", "human_enhancers_cohn.test.tsv.gz"]),
    "columns": (TABLE + "columns.tsv", ["no column sequence", "no column label", "seq,class"]),
    "table empty": (TABLE + "empty.tsv", ["empty.tsv", "the file is empty"]),
    "table of no rows": (TABLE + "header_only.tsv", ["header_only.tsv", "no rows"]),
    "table kind": (TABLE + "table.xlsx", ["table.xlsx", ".tsv"]),
    "label": (TABLE + "label.tsv", ["line 42", "'7'", "0 (negative), 1 (positive)"]),
    "letter": (TABLE + "letter.tsv", ["line 3", "position 4", "'J'"]),
    "blank": (TABLE + "blank.tsv", ["without a sequence", "first: line 3"]),
    "gz cut off": (TABLE + "cut.tsv.gz", ["cut.tsv.gz", "truncated"]),
    "class too rare": (TABLE + "rare.tsv", ["'positive'", "no rows", "of this class in total"]),
    "backbone": (PROBE + "{place}/nowhere", ["nowhere", "neither a folder nor a known name"]),
    "backbone name": (PROBE + "tiny-1kk", ["tiny-1kk", "mean tiny-1k?"]),
    "backbone of no files": (PROBE + "{place}/empty", ["empty", "no config.json"]),
    "backbone's tensor missing": (
        PROBE + "{place}/missing",
        ["layers.1.mlp.fc1.weight", "missing"],
    ),
    "backbone's tensor extra": (PROBE + "{place}/extra", ["surplus", "not of this model"]),
    "backbone's tensor misshapen": (PROBE + "{place}/misshapen", ["(3, 8)", "(16, 8)"]),
    "backbone cut off": (PROBE + "{place}/cut_off", ["model.safetensors", "damaged"]),
    "backbone's width": (PROBE + "{place}/text_width", ["config.json", "d_model", "wide"]),
    "backbone's depth": (PROBE + "{place}/no_layers", ["not of this model"]),
    "home of nobody": (PROBE + "~nobody-of-that-name/x", ["~nobody-of-that-name"]),
    "data at home of nobody": (
        "task=enhancer_cohn method=gc_only data=~nobody-of-that-name/x",
        ["~nobody-of-that-name"],
    ),
    "out": (SOFT + " k=1 out=/proc/x", ["/proc/x"]),
    "placement": (SOFT + " method.placement=befor", ["befor", "before, after, split"]),
    "readout": (SOFT + " method.readout=first", ["first", "last, mean"]),
    "init": (SOFT + " method.init=zeros", ["zeros", "nucleotides, normal"]),
    "strands": (SOFT + " method.strands=reverse", ["reverse", "both, forward"]),
    "lr": (SOFT + " method.lr=-1", ["method.lr=-1.0", "more than 0"]),
    "lr not finite": (SOFT + " method.lr=nan", ["method.lr=nan", "finite"]),
    "lr text": (SOFT + " method.lr=fast", ["method.lr", "'fast'"]),
    "epochs": (SOFT + " method.epochs=0", ["method.epochs=0", "1 or more"]),
    "patience": (SOFT + " method.patience=0", ["method.patience=0", "1 or more"]),
    "rows": (SOFT + " method.rows=0", ["method.rows=0", "1 or more"]),
    "weight decay": (SOFT + " method.weight_decay=-1", ["method.weight_decay=-1", "0 or more"]),
    "warmup": (SOFT + " method.warmup=1", ["method.warmup=1", "less than 1"]),
    "words too few": (SOFT + " verbalizer.words=[A]", ["one word for each of the 2 classes"]),
    "words of letters": (SOFT + " verbalizer.words=[A,X]", ["[A,X]", "A, C, G, T, N"]),
    "words twice": (SOFT + " verbalizer.words=[A,A]", ["[A,A]", "share"]),
    "words uneven": (SOFT + " verbalizer.words=[A,CG]", ["[A,CG]", "one length"]),
    "words as text": (
        SOFT + " verbalizer.words=AN",
        ["verbalizer.words=AN", "verbalizer.words=[AN]"],
    ),
    "mean readout": (SOFT + " k=2 method.readout=mean method.placement=after", ["before"]),
    "n_train too small": (SOFT + " n_train=1", ["1 of 40 rows", "2 to 40"]),
    "n_train too large": (SOFT + " n_train=41", ["41 of 40 rows", "2 to 40"]),
    "seeds": (SOFT + " seeds=0", ["seeds=0", "1 or more"]),
    "threads": (SOFT + " threads=0", ["threads=0", "1 or more"]),
    "batch_size": (SOFT + " batch_size=0", ["batch_size=0", "1 or more"]),
}


@pytest.fixture
def unchanged(tmp_path, place):
    """Checks that neither the working folder nor the input differs afterwards."""

    def seen():
        return {
            path: path.read_bytes() if path.is_file() else None
            for root in (tmp_path, place)
            for path in root.rglob("*")
        }

    before = seen()
    yield
    assert seen() == before


def assert_helps(outcome, parts):
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
    for part in parts:
        assert part in err, err


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_of_a_run(call, tiny, place, unchanged, recwarn, mistake):
    words, parts = MISTAKES[mistake]
    outcome = call(*words.format(place=place).split())
    assert_helps(outcome, parts)
    assert not [str(warning.message) for warning in recwarn]


def test_cuda_where_there_is_none(call, tiny, place, unchanged, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = call(*SOFT.format(place=place).split(), "device=cuda")
    assert_helps(outcome, ["device=cuda", "has cpu"])


def test_a_repeated_mistake_over_seeds_is_said_once(call, tiny, place, unchanged):
    assert_helps(call(*SOFT.format(place=place).split(), "k=1000", "seeds=3"), ["1000"])


def test_mistakes_of_predict(tmp_path, place, capsys, unchanged):
    for words, parts in {
        ("run={place}/nowhere", "fasta={place}/good.tsv"): ["nowhere", "no run"],
        ("run={place}/empty", "fasta={place}/good.tsv"): ["report.json", "has the run finished"],
        ("run={place}/empty",): ["fasta= is missing"],
        ("run={place}/empty", "fasta=x", "strands=one"): ["strands=one", "both, forward"],
    }.items():
        code = predict.main([word.format(place=place) for word in words])
        captured = capsys.readouterr()
        assert_helps((code, captured.out, captured.err), parts)


def test_mistakes_of_curve(place, capsys, unchanged):
    for words, parts in {
        ("runs={place}/empty",): ["empty", "no report.json"],
        ("runs={place}/nowhere",): ["nowhere", "no such folder"],
        ("runs={place}/empty", "metrc=mcc"): ["'metrc'", "mean metric?"],
    }.items():
        code = curve.main([word.format(place=place) for word in words])
        captured = capsys.readouterr()
        assert_helps((code, captured.out, captured.err), parts)


def test_a_hub_task_without_network_in_a_process_of_its_own(tmp_path):
    unreachable = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "cache")}
    environment = {k: v for k, v in os.environ.items() if k != "ICL_DATA"} | unreachable
    root = os.path.dirname(os.path.dirname(run.__file__))
    done = subprocess.run(
        [sys.executable, "-m", "icl.run", "task=enhancer_cohn", "method=gc_only"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": root},
    )
    ways = ["Three ways", "(1) connect", "(2) give data=DIR", "(3) give data=FILE"]
    assert_helps((done.returncode, done.stdout, done.stderr), ways)
    assert not (tmp_path / "runs").exists()
