import pytest

from backbone.common.errors import InputError
from tasks.catalog import TASKS
from tasks.registry import Registry


@pytest.fixture
def registry() -> Registry[int]:
    registry: Registry[int] = Registry("number")
    registry.add("one", 1, aliases=["eins", "un"])
    registry.add("three", 3)
    return registry


def test_finds_values_by_name_and_alias_but_lists_names_only(registry):
    assert [registry.get(name) for name in ("one", "eins", "un", "three")] == [1, 1, 1, 3]
    assert registry.names() == ("one", "three")
    assert "eins" in registry and "two" not in registry


@pytest.mark.parametrize(
    ("name", "aliases"), [("one", []), ("eins", []), ("two", ["one"]), ("two", ["x", "x"])]
)
def test_taken_names_raise_and_register_nothing(registry, name, aliases):
    with pytest.raises(ValueError, match="registered twice"):
        registry.add(name, 2, aliases)
    assert registry.names() == ("one", "three")


def test_an_unknown_name_gives_the_nearest_name_or_alias(registry):
    with pytest.raises(InputError) as error:
        registry.get("thre")
    assert str(error.value) == "unknown number 'thre'; did you mean three?"


def test_the_catalog_knows_the_benchmark_under_both_names():
    assert TASKS.get("human_enhancers_cohn") is TASKS.get("enhancer_cohn")
    assert TASKS.get("dummy_mouse_enhancers_ensembl") is TASKS.get("mouse_enhancer")
    assert set(TASKS.names()) >= {
        "enhancer_cohn", "enhancer_ensembl", "regulatory_ensembl", "promoter_nontata",
        "ocr_ensembl", "coding_vs_intergenic", "human_or_worm", "mouse_enhancer",
        "synthetic_easy", "synthetic_hard",
    }  # fmt: skip
    assert all(TASKS.get(name).name == name for name in TASKS.names())
    with pytest.raises(InputError, match="did you mean enhancer_cohn?"):
        TASKS.get("enhancer_con")
