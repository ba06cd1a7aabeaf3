import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.common.errors import InputError
from backbone.sequence.dna import reverse_complement
from backbone.tokens import decode_dna
from prompts.demonstrations import Demonstration
from prompts.template import Selection, Template, TokenBudget
from prompts.verbalizer import Verbalizer

ONE, TWO = Verbalizer(("A", "N")), Verbalizer(("AC", "GT", "TT"))
DNA = st.text("ACGTN", min_size=1, max_size=12)
STRANDS = st.sampled_from(["forward", "both"])


def shown(*pairs: tuple[str, int]) -> tuple[Demonstration, ...]:
    return tuple(Demonstration(sequence, label, i) for i, (sequence, label) in enumerate(pairs))


# Ids: [SEP] 1, A 7, C 8, G 9, T 10, N 11.
def test_ids_by_hand_with_words_of_one_letter():
    prompt = Template(ONE).prompt(shown(("ACG", 1), ("TT", 0)), "GA")
    assert prompt.ids.tolist() == [7, 8, 9, 1, 11, 1, 10, 10, 1, 7, 1, 9, 7, 1]
    assert prompt.ids.dtype == "int64" and prompt.answer_at == 13


def test_ids_by_hand_with_words_of_two_letters():
    prompt = Template(TWO).prompt(shown(("A", 2), ("CN", 1)), "T")
    assert prompt.ids.tolist() == [7, 1, 10, 10, 1, 8, 11, 1, 9, 10, 1, 10, 1]
    assert prompt.answer_at == 12


def test_ids_by_hand_with_both_strands():
    ids = Template(ONE, "both").encode_demonstrations(shown(("ACC", 1)))
    assert ids.tolist() == [7, 8, 8, 1, 11, 1, 9, 9, 10, 1, 11, 1]


def test_without_demonstrations_a_prompt_is_the_query():
    template = Template(ONE)
    assert (
        template.encode_demonstrations(()).tolist() == []
        and template.encode_demonstrations(()).dtype == "int64"
    )
    prompt = template.prompt((), "AC")
    assert prompt.ids.tolist() == template.encode_query("AC").tolist() == [7, 8, 1]
    assert prompt.answer_at == 2


@settings(deadline=None)
@given(st.lists(st.tuples(DNA, st.integers(0, 2)), max_size=5), DNA, STRANDS)
def test_a_prompt_is_spelled_and_asks_after_its_last_token(pairs, query, strands):
    template = Template(TWO, strands)
    demonstrations = shown(*pairs)
    prompt = template.prompt(demonstrations, query)
    text = ""
    for sequence, label in pairs:
        text += f"{sequence}[SEP]{TWO.words[label]}[SEP]"
        if strands == "both":
            text += f"{reverse_complement(sequence)}[SEP]{TWO.words[label]}[SEP]"
    assert decode_dna(prompt.ids) == f"{text}{query}[SEP]"
    assert prompt.answer_at == len(prompt.ids) - 1
    assert len(template.encode_demonstrations(demonstrations)) == template.length(demonstrations)


def test_unknown_choices_are_refused():
    with pytest.raises(InputError, match="demonstration_strands=reverse: must be one of forward"):
        Template(ONE, "reverse")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="policy=cut: must be one of refuse, drop, trim"):
        TokenBudget(10, "cut")  # type: ignore[arg-type]


# Each takes its bases and 3 tokens, so 13, 9, 11 and 7: 40 in all; the query of 5, [SEP] and the
# word take 7 more.
FOUR = shown(("ACGTACGTAC", 0), ("CCGGAA", 1), ("TTTTGGGG", 0), ("GATC", 1))
POLICIES = pytest.mark.parametrize("policy", ["refuse", "drop", "trim"])


@POLICIES
def test_what_fits_is_left_alone(policy):
    assert TokenBudget(47, policy).fit(FOUR, Template(ONE), 5) == Selection(FOUR, 28, 0, 0)


@POLICIES
def test_the_room_is_used_to_the_last_token(policy):
    template = Template(ONE)
    prompt = template.prompt(FOUR, "ACGTA")
    assert len(prompt.ids) + ONE.length == 47


def test_refusing_gives_the_numbers():
    with pytest.raises(
        InputError, match="4 demonstrations of 40 tokens .* 7 for .* exceed the maximum of 46"
    ):
        TokenBudget(46, "refuse").fit(FOUR, Template(ONE), 5)


def test_dropping_leaves_out_the_first_of_each_class():
    assert TokenBudget(46, "drop").fit(FOUR, Template(ONE), 5) == Selection(FOUR[2:], 12, 2, 0)
    assert TokenBudget(24, "drop").fit(FOUR, Template(ONE), 5) == Selection((), 0, 4, 0)
    unequal = (FOUR[0], FOUR[2], FOUR[1], FOUR[3])
    assert TokenBudget(46, "drop").fit(unequal, Template(ONE), 5).demonstrations == (
        FOUR[2],
        FOUR[3],
    )


def test_trimming_cuts_to_the_middle_of_one_length():
    fitted = TokenBudget(46, "trim").fit(FOUR, Template(ONE), 5)  # one base too many
    assert [d.sequence for d in fitted.demonstrations] == [
        "ACGTACGTA", "CCGGAA", "TTTTGGGG", "GATC",
    ]  # fmt: skip
    assert (fitted.bases, fitted.dropped, fitted.trimmed) == (27, 0, 1)
    fitted = TokenBudget(35, "trim").fit(FOUR, Template(ONE), 5)  # 16 bases: 4 each
    assert [d.sequence for d in fitted.demonstrations] == ["TACG", "CGGA", "TTGG", "GATC"]
    assert [(d.label, d.row) for d in fitted.demonstrations] == [(0, 0), (1, 1), (0, 2), (1, 3)]
    assert (fitted.bases, fitted.dropped, fitted.trimmed) == (16, 0, 3)


def test_both_strands_need_twice_the_room():
    template = Template(ONE, "both")
    assert TokenBudget(87, "refuse").fit(FOUR, template, 5) == Selection(FOUR, 56, 0, 0)
    assert TokenBudget(47, "drop").fit(FOUR, template, 5) == Selection(FOUR[2:], 24, 2, 0)
    assert (
        TokenBudget(47, "trim").fit(FOUR, template, 5).bases == 16
    )  # 40 - 8 * 3 tokens: 2 bases each


def test_what_no_policy_can_fit_is_refused():
    with pytest.raises(InputError, match="5 nucleotides .* = 7 tokens exceed the maximum of 6"):
        TokenBudget(6, "drop").fit(FOUR, Template(ONE), 5)
    with pytest.raises(InputError, match="4 demonstrations of 40 tokens"):
        TokenBudget(22, "trim").fit(FOUR, Template(ONE), 5)  # 15 tokens: 3 each, no base left


@settings(deadline=None)
@given(
    st.lists(st.tuples(DNA, st.integers(0, 2)), min_size=1, max_size=6),
    st.integers(20, 80),
    STRANDS,
    st.sampled_from(["drop", "trim"]),
)
def test_what_is_fitted_fits_and_one_step_more_would_not(pairs, tokens, strands, policy):
    template, demonstrations = Template(TWO, strands), shown(*pairs)
    left = tokens - (3 + 1 + 2)
    try:
        fitted = TokenBudget(tokens, policy).fit(demonstrations, template, 3)
    except InputError:
        assert policy == "trim"
        one_base = sum(template.strands * (1 + 4) for _ in pairs)
        assert one_base > left
        return
    assert template.length(fitted.demonstrations) <= left
    assert fitted.bases == template.bases(fitted.demonstrations)
    if policy == "drop":
        kept = fitted.demonstrations
        assert fitted.dropped == len(pairs) - len(kept) and fitted.trimmed == 0
        assert list(kept) == [d for d in demonstrations if d in kept]
    elif fitted.trimmed:
        longest = max(len(d.sequence) for d in fitted.demonstrations)
        longer = sum(min(len(s), longest + 1) + 4 for s, _ in pairs) * template.strands
        assert longer > left
