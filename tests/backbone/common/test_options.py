from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import MISSING, OmegaConf

from backbone.common.errors import InputError
from backbone.common.options import (
    Description,
    as_text,
    check_options,
    described,
    help_text,
    option,
    read_options,
)


@dataclass
class Made:
    folder: str = option(MISSING, "where")
    files: list[str] = option([], "which")
    rate: float = option(0.1, "how fast")
    steps: int | None = option(None, "how long")
    bed: str | None = option(None, "regions")
    fast: bool = option(False, "hurry")


@dataclass
class Keyword:
    class_: str = option(MISSING, "which class", choices=("a", "b"))


def test_an_option_may_be_called_like_a_keyword():
    assert read_options(Keyword, ["class=a"]) == Keyword("a")
    assert "class=" in help_text(Keyword, "x").split()
    for words, message in {
        (): "^class= is missing",
        ("class=c",): "^class=c: must be one of a, b",
        ("clas=a",): "did you mean class?",
    }.items():
        with pytest.raises(InputError, match=message):
            read_options(Keyword, words)


@pytest.mark.parametrize(
    "path", ["a=b", "a,b", "a (b)", "a: b", "007", "null", "[x]", "${x}", " ", "#c", "{a: 1}", "'"]
)
def test_text_reaches_the_program_as_it_is(path):
    made = read_options(Made, [f"folder={path}", f"files={path}".replace("[x]", "x")])
    assert made.folder == path
    assert made.files == [path.replace("[x]", "x")]


def test_values_are_read_by_their_kind():
    words = ["folder=x", "files=[a,b c]", "rate=1e-3", "steps=5", "bed=", "fast=true"]
    assert read_options(Made, words) == Made("x", ["a", "b c"], 0.001, 5, None, True)
    assert read_options(Made, ["folder=x", "steps=null"]).steps is None
    assert read_options(Made, ["folder=x", "bed=y.bed"]).bed == "y.bed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "folder= is missing"),
        (["folder"], "'folder': options are given as NAME=VALUE"),
        (["folder=x", "step=3"], "unknown option 'step'; did you mean steps?"),
        (["folder=x", "steps=many"], "steps: .*'many'"),
        (["folder=x", "files=[a"], r"cannot read files=\[a"),
    ],
)
def test_a_mistake_is_one_line(words, message):
    with pytest.raises(InputError, match=message) as caught:
        read_options(Made, words)
    assert len(str(caught.value).splitlines()) == 1


def test_help_has_a_line_an_option_with_its_default():
    lines = help_text(Made, "python -m made").splitlines()
    assert lines[0] == "python -m made key=value ..."
    assert [line.split() for line in lines[2:5]] == [
        ["folder=", "where"],
        ["files=[]", "which"],
        ["rate=0.1", "how", "fast"],
    ]


def test_the_help_shows_a_list_as_it_is_typed():
    @dataclass
    class WithList:
        methods: list[str] = option(["gc_only", "majority"], "the methods")

    assert "methods=[gc_only,majority]" in help_text(WithList, "x")
    assert read_options(WithList, ["methods=[gc_only,majority]"]) == WithList()


@dataclass
class Part:
    files: list[str] = option([], "which")
    weight: float = option(1.0, "how often")


@dataclass
class WithParts:
    parts: dict[str, Part] = option({}, "several, each with")
    rate: float = option(0.1, "how fast")


def test_parts_are_given_by_their_names():
    words = ["parts.a.files=x, (y)", "parts.b.files=[u,v]", "parts.b.weight=3", "rate=2"]
    made = read_options(WithParts, words)
    assert made == WithParts({"a": Part(["x, (y)"]), "b": Part(["u", "v"], 3.0)}, 2.0)
    assert read_options(WithParts, []) == WithParts()
    text = help_text(WithParts, "x")
    assert "parts.NAME.weight=1.0" in text and "several, each with" in text


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("parts=x", "write parts.NAME.KEY=value in place of 'parts=x'"),
        ("parts.a=x", "write parts.NAME.KEY=value in place of"),
        ("parts.a.file=x", "unknown option 'file'; did you mean files"),
        ("parts.a.weight=heavy", "'heavy'"),
        ("rate.a=1", "unknown option 'rate.a'"),
    ],
)
def test_a_mistake_in_a_part_is_one_line(word, message):
    with pytest.raises(InputError, match=message):
        read_options(WithParts, [word])


@dataclass
class Inner:
    words: list[str] | None = option(None, "label words")


@dataclass
class Limited:
    mode: str = option("grid", "what to do", choices=("grid", "tpe"))
    modes: list[str] = option(["grid"], "several", choices=("grid", "tpe"))
    count: int | None = option(None, "how many", least=1)
    rate: float = option(0.1, "how fast", above=0)
    share: float = option(0.5, "of the whole", least=0, below=1)
    quantile: float = option(0.5, "of all", least=0, most=1)
    inner: Inner = option(Inner, "")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mode=random", "mode=random: must be one of grid, tpe"),
        ("modes=[grid,x]", "modes=[grid,x]: must be one of grid, tpe"),
        ("count=0", "count=0: must be 1 or more"),
        ("rate=0", "rate=0.0: must be more than 0"),
        ("rate=inf", "rate=inf: must be a finite number"),
        ("rate=nan", "rate=nan: must be a finite number"),
        ("share=1", "share=1.0: must be 0 or more and less than 1"),
        ("quantile=1.5", "quantile=1.5: must be 0 or more and at most 1"),
    ],
)
def test_a_value_out_of_range_is_refused(word, message):
    with pytest.raises(InputError) as caught:
        read_options(Limited, [word])
    assert str(caught.value) == message


def test_values_at_the_bounds_are_accepted():
    words = ["count=1", "share=0", "quantile=1", "modes=[tpe,grid]", "inner.words=[A,N]"]
    made = read_options(Limited, words)
    assert (made.count, made.share, made.quantile) == (1, 0.0, 1.0)
    assert made.inner == Inner(["A", "N"])


def test_nested_options_are_checked_under_their_prefix():
    @dataclass
    class Outer:
        method: Limited = option(Limited, "")

    with pytest.raises(InputError, match="^method.count=0: must be 1 or more$"):
        check_options(Outer(Limited(count=0)))
    with pytest.raises(InputError, match="^method.count=many: must be a number$"):
        check_options(Outer(Limited(count="many")))


def test_the_help_has_the_choices():
    lines = [line.strip() for line in help_text(Limited, "x").splitlines()]
    assert "what to do (grid, tpe)" in next(line for line in lines if line.startswith("mode="))
    assert any(line.startswith("inner.words=null") for line in lines)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
)
def test_a_value_as_text_is_read_as_that_value(value):
    assert OmegaConf.to_object(OmegaConf.create(f"value: {as_text(value)}")) == {"value": value}


def test_a_description_has_default_choices_and_bounds():
    @dataclass
    class Inner:
        rate: float = option(0.5, "how fast", above=0, most=1)

    @dataclass
    class Outer:
        folder: str = option(MISSING, "where")
        mode: str = option("grid", "how", choices=("grid", "tpe"))
        tuning: Inner = option(Inner, "")
        genomes: dict[str, Inner] = option({}, "which")

    assert list(described(Outer)) == [
        Description("folder", "", "where", (), ""),
        Description("mode", "grid", "how", ("grid", "tpe"), ""),
        Description("tuning.rate", "0.5", "how fast", (), "more than 0 and at most 1"),
        Description("genomes", None, "which", (), ""),
        Description("genomes.NAME.rate", "0.5", "how fast", (), "more than 0 and at most 1"),
    ]
