"""python -m experiments.embed on a small task: files, figures by hand, mistakes."""

import re

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from experiments.embed import __main__ as command
from experiments.embed.classifiers import Pool, baselines, f1_table, pool_of
from experiments.embed.picture import draw_f1, draw_map
from icl.inference.embedding import embed
from tasks.catalog import TASKS
from tests.icl.conftest import tiny as tiny  # the task `tiny_rows`
from tests.icl.methods.test_methods import tiny_backbone

LAYERS = ["embedding", "block_1", "block_2", "final_norm"]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("backbone.hyena.zoo.load", lambda name, device: tiny_backbone())
    monkeypatch.setattr(command, "prepare_arithmetic", lambda threads, device: None)


def test_the_command_writes_embeddings_tables_and_pictures(tiny, small, tmp_path, capsys):
    words = ["task=tiny_rows", f"out={tmp_path}", "divisions=2", "classifiers=[logistic]"]
    assert command.main(words) == 0
    written = {path.name for path in tmp_path.iterdir()}
    stems = ("f1_by_layer_tiny_rows", "map_tiny_rows")
    pictures = {f"{stem}.{end}" for stem in stems for end in ("png", "svg", "csv")}
    assert written == {"embeddings.safetensors", "rows.tsv", *pictures}
    arrays = load_file(tmp_path / "embeddings.safetensors")
    rows = pd.read_csv(tmp_path / "rows.tsv", sep="\t")
    pool = pool_of(TASKS.get("tiny_rows"), None, 2)
    assert set(arrays) == set(LAYERS) and {a.shape for a in arrays.values()} == {(len(rows), 8)}
    expected = embed(tiny_backbone(), pool.sequences)["block_1"]
    np.testing.assert_allclose(arrays["block_1"], expected, rtol=1e-6)
    assert (rows["length"] == 40).all() and set(rows["label"]) == {"poor", "rich"}
    table = pd.read_csv(tmp_path / f"{stems[0]}.csv")
    assert list(table["features"]) == [*LAYERS, "k-mer counts", "length and GC"]
    assert ((table["low"] <= table["f1"]) & (table["f1"] <= table["high"])).all()
    assert "macro-F1" in (tmp_path / f"{stems[0]}.svg").read_text()
    assert "f1_by_layer" in capsys.readouterr().out


def test_rows_of_all_divisions_are_one_pool(tiny):
    task = TASKS.get("tiny_rows")
    pool = pool_of(task, None, 3)
    assert len(set(zip(pool.sequences, pool.labels.tolist(), strict=True))) == len(pool.sequences)
    for seed, division in enumerate(pool.divisions):
        splits = task.splits(seed, None)
        for name in ("train", "val", "test"):
            found = [(pool.sequences[i], pool.labels[i]) for i in division[name]]
            assert found == [(e.sequence, e.label) for e in getattr(splits, name)]


def test_f1_is_scikit_learn_s_and_validation_chooses_between_tables():
    random = np.random.default_rng(0)
    labels = np.arange(300) % 3
    good = labels[:, None] + random.normal(0, 0.6, (300, 1))
    noise = random.normal(size=(300, 1))
    order = random.permutation(300)
    division = {"train": order[:180], "val": order[180:240], "test": order[240:]}
    pool = Pool(["A"] * 300, labels, [division], "")
    table = f1_table({"both": [noise, good], "noise": [noise]}, pool, ["logistic"], 3, 0)
    f1 = table.set_index("features")["f1"]
    scaled = (good - good[division["train"]].mean()) / good[division["train"]].std()
    best = min(
        (LogisticRegression(C=c).fit(scaled[division["train"]], labels[division["train"]])
         for c in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)),
        key=lambda model: -np.log(
            model.predict_proba(scaled[division["val"]])[np.arange(60), labels[division["val"]]]
        ).mean(),
    )  # fmt: skip
    predicted = best.predict(scaled[division["test"]])
    expected = f1_score(labels[division["test"]], predicted, average="macro")
    assert f1["both"] == pytest.approx(expected)
    assert f1["both"] > f1["noise"]


def test_baselines_read_no_backbone():
    found = baselines(["ACGT", "GGGGGGCC"])
    np.testing.assert_allclose(found["length and GC"][0], [[np.log(4), 0.5], [np.log(8), 1.0]])
    assert [table.shape for table in found["k-mer counts"]] == [(2, 32), (2, 136), (2, 512)]


def test_pictures_say_what_they_show(tiny):
    task = TASKS.get("tiny_rows")
    places = np.random.default_rng(0).normal(size=(8, 2))
    figure = draw_map({"one": places, "other": places}, ["poor", "rich"] * 4, task, "tsne", "f")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["poor (4)", "rich (4)"]
    markers = {c.get_paths()[0].vertices.shape for c in figure.axes[0].collections}
    assert len(markers) == 2 and len(figure.axes) == 2
    table = pd.DataFrame(
        [(n, "logistic", 0.5 + i / 10, 0.4, 0.9, 0.5, 0.5, 3)
         for i, n in enumerate(["embedding", "block_1", "k-mer counts"])],
        columns=["features", "classifier", "f1", "low", "high", "accuracy", "validation_f1",
                 "divisions"],
    )  # fmt: skip
    figure = draw_f1(table, "t", ["embedding", "block_1"], ["k-mer counts"], "facts")
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["embedding", "block 1"]
    assert {t.get_text() for t in axes.texts} == {
        "k-mer counts, logistic 0.700",
        "backbone, logistic 0.600",
    }


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("strands=reverse", "strands=reverse: must be one of both, forward"),
        ("map=pca", "map=pca: must be one of tsne, umap, none"),
        ("classifiers=[svm]", r"classifiers=\[svm\]: must be one of logistic, boosting"),
        ("classifiers=[]", "give some of logistic, boosting"),
        ("divisions=0", "divisions=0: must be 1 or more"),
        ("layers=[block_9]", "no layer 'block_9'"),
        ("map_layer=block_9", "unknown layer 'block_9'; did you mean"),
        ("task.length=9", "unknown option 'length'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(tiny, small, tmp_path, capsys, word, said):
    out = tmp_path / "out"
    assert command.main(["task=tiny_rows", f"out={out}", word]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and re.search(said, line)
    assert not out.exists()
