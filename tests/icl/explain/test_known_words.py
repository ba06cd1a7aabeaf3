"""Words that one would look for in explanations."""

import pandas as pd
import pytest

from backbone.common.errors import InputError
from icl.explain.known_words import check_word, places_of, word_table


def test_places_by_hand():
    assert places_of("ATATAAGTTTATAC", "TATAAR") == [1, 7]
    assert places_of("ATATAAGTTTATAC", "TATAWA") == [7]  # TTTATA, the other strand
    assert places_of("ATATAAACTTTATAC", "TATAAA") == [1, 8]
    assert places_of("ACGCGN", "CG") == [1, 3]
    assert places_of("CGCGCG", "CGCG") == [0, 2]  # they may overlap
    assert places_of("ANNA", "NN") == []  # an unknown base is no letter of a word


def test_importance_inside_and_elsewhere_by_hand():
    rows = pd.DataFrame({"row": [0, 1, 2], "sequence": ["ACGT", "CGAA", "AAAA"],
                         "label": ["x", "x", "y"]})  # fmt: skip
    values = [1.0, 4.0, 6.0, 3.0, 2.0, 0.0, 5.0, 1.0, 9.0, 9.0, 9.0, 9.0]
    bases = pd.DataFrame({"row": [0] * 4 + [1] * 4 + [2] * 4, "importance": values})
    table = word_table({"run": bases}, rows, ["CG"]).set_index("label")
    own, other = (5.0 + 1.0) / 2, (2.0 + 3.0) / 2  # (4 + 6) / 2 and (2 + 0) / 2; (1 + 3) / 2 ...
    assert table.loc["x", ["rows", "places"]].tolist() == [2, 2]
    assert table.loc["x", "inside"] == own and table.loc["x", "elsewhere"] == other
    assert table.loc["x", "difference"] == own - other
    assert table.loc["x", "low"] <= own - other <= table.loc["x", "high"]
    assert table.loc["y", "rows"] == 0 and pd.isna(table.loc["y", "difference"])


@pytest.mark.parametrize("word", ["", "TATX", "TA-"])
def test_a_word_has_letters_of_the_code(word):
    with pytest.raises(InputError, match="is no word of the letters"):
        check_word(word)
