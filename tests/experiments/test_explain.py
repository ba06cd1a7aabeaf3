"""Pictures of explanations, from folders that icl.explain has written."""

import numpy as np
import pandas as pd
import pytest

from experiments.explain import main
from experiments.pictures.logos import Track, most_important_stretch, profiles
from icl import run
from icl.explain.__main__ import main as explain
from icl.reporting.report import find_reports


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """Folders about the same rows, of two runs, and one about other rows."""
    root = tmp_path_factory.mktemp("explained")
    words = ["task=synthetic_easy", "audit=none", "threads=1", "n_train=60", "test_rows=40"]
    for kmer in (2, 3):
        code = run.main([*words, "method=kmer_logreg", f"method.kmer={kmer}", f"out={root}"])
        assert code == 0
    one, two = (path.parent for path in find_reports(root))
    common = ["threads=1", "control=none"]
    explain([f"run={one}", "rows=4", f"out={root / 'one'}", *common])
    explain([f"run={two}", "rows=4", f"out={root / 'two'}", *common])
    explain([f"run={two}", "rows=4", "seed=1", f"out={root / 'other'}", *common])
    return root


def test_pictures_and_their_tables(explained, tmp_path, capsys):
    words = [f"explained=[{explained / 'one'},{explained / 'two'}]", "names=[2-mers,3-mers]"]
    assert main([*words, "rows=[1,3]", "bases=40", f"out={tmp_path}"]) == 0
    stems = ["effects_row_1", "effects_row_3", "logo_row_1", "logo_row_3", "profile"]
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {f"{stem}.{suffix}" for stem in stems for suffix in ("png", "svg", "csv")}
    logo = pd.read_csv(tmp_path / "logo_row_1.csv")
    assert len(logo) == 2 * 40 and list(logo["run"].unique()) == ["2-mers", "3-mers"]
    profile = pd.read_csv(tmp_path / "profile.csv")
    assert len(profile) == 2 * 2 * 160 and set(profile["group"]) == {"background", "motif"}
    known = profile.dropna(subset="low")  # a figure that is the same in every row has no interval
    assert len(known) and (known["low"] <= known["mean"]).all()
    assert (known["mean"] <= known["high"]).all()


def test_words_that_one_would_look_for(explained, tmp_path):
    words = [f"explained=[{explained / 'one'}]", "names=[counts]", "words=[tgac,CG]"]
    assert main([*words, "rows=[]", "origin=80", f"out={tmp_path}"]) == 0
    table = pd.read_csv(tmp_path / "words.csv")
    assert list(table["word"].unique()) == ["TGAC", "CG"]
    assert set(table["label"]) == {"background", "motif"}
    rows = pd.read_csv(explained / "one" / "rows.tsv", sep="\t")
    counts = {
        label: part["sequence"].str.count("CG").sum() for label, part in rows.groupby("label")
    }
    of_cg = table[table["word"] == "CG"].set_index("label")["places"]
    assert of_cg.to_dict() == counts
    profile = pd.read_csv(tmp_path / "profile.csv")
    assert profile["position"].min() == -80 and profile["position"].max() == 79


def test_the_most_important_stretch():
    bases = pd.DataFrame({"importance": [0, 1, -5, 4, 0, 2, 0]})
    assert most_important_stretch(bases, 2) == slice(2, 4)
    assert most_important_stretch(bases, 100) == slice(0, 7)


def test_a_profile_is_the_mean_over_rows():
    values = np.array([[1.0, 2.0], [3.0, 6.0], [0.0, 0.0]])
    bases = pd.DataFrame(
        {
            "row": np.repeat([0, 1, 2], 2),
            "position": [0, 1] * 3,
            "importance": values.ravel(),
        }
    )
    table = profiles([Track("a", bases)], {"first": [0, 1], "last": [2]})
    assert list(table["mean"]) == [2.0, 4.0, 0.0, 0.0]
    assert list(table["group"]) == ["first", "first", "last", "last"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "explained=[]"),
        (["explained=[{root}/nowhere]"], "give a folder of icl.explain"),
        (["explained=[{root}/one,{root}/other]"], "is about other rows"),
        (["explained=[{root}/one]", "rows=[9]"], "there is no row 9"),
        (["explained=[{root}/one]", "names=[a,b]"], "2 names for 1 folders"),
        (["explained=[{root}/one]", "words=[TATX]"], "words: 'TATX' is no word of the letters"),
    ],
)
def test_a_mistake_is_one_line(explained, tmp_path, capsys, words, message):
    code = main([*(word.format(root=explained) for word in words), f"out={tmp_path / 'x'}"])
    captured = capsys.readouterr()
    assert code == 2 and message in captured.err and captured.err.count("\n") == 1
    assert not (tmp_path / "x").exists()
