from dataclasses import dataclass

import pytest
from omegaconf import MISSING

from backbone.common.errors import InputError
from backbone.common.options import help_text, option, read_options


@dataclass
class Made:
    folder: str = option(MISSING, "where")
    files: list[str] = option([], "which")
    rate: float = option(0.1, "how fast")
    steps: int | None = option(None, "how long")
    bed: str | None = option(None, "regions")
    fast: bool = option(False, "hurry")


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
        (["folder"], "'folder' is no option; write key=value"),
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
        ["files=", "which"],
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
