from dataclasses import dataclass, replace

import pytest

from backbone.common.errors import InputError
from icl.config import options
from icl.config.options import (
    RunConfig,
    TaskConfig,
    VerbalizerConfig,
    configure,
    entry,
    from_dict,
    identity,
    resolve,
)
from icl.method import METHODS, MethodConfig, MethodEntry
from icl.methods.linear_probe import LinearProbe, LinearProbeConfig
from icl.methods.majority import MajorityConfig
from icl.reporting.report import run_hash


@dataclass
class OneOption(MethodConfig):
    lr: float = 0.1


@pytest.fixture(autouse=True)
def budgets(monkeypatch):
    """Methods with each budget; what they do is of no matter here."""
    for name, budget, also in (
        ("with_tokens", "prompt_tokens", ()),
        ("with_shots", "shots", ()),
        ("with_both", "prompt_tokens", ("shots",)),
    ):
        cls = type("Named", (LinearProbe,), {"name": name})
        made = MethodEntry(cls, OneOption, "", budget, 7, uses_backbone=True, extra_budgets=also)
        monkeypatch.setitem(METHODS._values, name, made)


def config(named="with_tokens", **changes):
    options = METHODS.get(named).config(name=named)
    return replace(RunConfig(task=TaskConfig("synthetic_easy"), method=options), **changes)


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("with_tokens", {}, (7, 7, None)),
        ("with_tokens", {"k": 0}, (0, 0, None)),
        ("with_tokens", {"k": 16}, (16, 16, None)),
        ("with_tokens", {"prompt_tokens": 16}, (16, 16, None)),
        ("with_tokens", {"k": 16, "prompt_tokens": 16}, (16, 16, None)),
        ("with_both", {}, (7, 7, 0)),
        ("with_both", {"k": 0, "shots": 2}, (0, 0, 2)),
        ("with_both", {"prompt_tokens": 16, "shots": 2}, (16, 16, 2)),
        ("with_shots", {"k": 3}, (3, None, 3)),
        ("with_shots", {"shots": 0}, (0, None, 0)),
        ("majority", {}, (None, None, None)),
    ],
)
def test_k_becomes_the_budget_of_the_method(method, given, expected):
    done = resolve(config(method, **given))
    assert (done.k, done.prompt_tokens, done.shots) == expected


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("with_tokens", {"k": 16, "prompt_tokens": 8}, "k=16 and prompt_tokens=8 disagree"),
        ("with_tokens", {"k": 0, "prompt_tokens": 8}, "k=0 and prompt_tokens=8 disagree"),
        ("with_shots", {"k": 1, "shots": 2}, "k=1 and shots=2 disagree"),
        ("with_tokens", {"shots": 2}, "with_tokens has none"),
        ("with_both", {"shots": -2}, "shots=-2"),
        ("with_both", {"k": 3, "prompt_tokens": 4, "shots": 4}, "k=3 and prompt_tokens=4"),
        ("with_shots", {"prompt_tokens": 2}, "with_shots has none"),
        ("majority", {"k": -1}, "k=-1"),
        ("majority", {"k": 4, "shots": 3}, "k=4: method majority has neither"),
        ("majority", {"shots": 3}, "shots=3: method majority has neither"),
        ("majority", {"verbalizer": VerbalizerConfig(["A", "C"])}, "majority reads no label words"),
        ("with_tokens", {"prompt_tokens": -3}, "prompt_tokens=-3"),
    ],
)
def test_budgets_that_cannot_be_are_refused(method, given, message):
    with pytest.raises(InputError, match=message):
        resolve(config(method, **given))


def hashed(made, data="d", weights="w", revision=None):
    return run_hash(
        identity(resolve(made)),
        data_sha256=data,
        data_revision=revision,
        weights_sha256=weights if entry(made).uses_backbone else None,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"task": TaskConfig("synthetic_hard")},
        {"method": OneOption("with_tokens", lr=0.2)},
        {"method": OneOption("with_shots")},
        {"k": 8},
        {"seed": 1},
        {"split_seed": 1},
        {"n_train": 5},
        {"control": "train_labels_shuffled"},
        {"evaluate": "val"},
        {"device": "cuda"},
        {"precision": "bf16"},
        {"keep_gb": 8},
        {"verbalizer": VerbalizerConfig(["A", "N"])},
    ],
)
def test_every_setting_that_changes_the_result_changes_the_hash(change):
    assert hashed(config(**change)) != hashed(config())


@pytest.mark.parametrize(
    "change",
    [
        *({"out": "x"}, {"force": True}, {"seeds": 4}, {"data": "x"}, {"backbone": "x"}),
        *({"controls": ["random_backbone"]}, {"other_task": "synthetic_hard"}),
        *({"batch_size": 3}, {"threads": 1}),
    ],
)
def test_where_and_how_often_do_not_change_the_hash(change):
    assert hashed(config(**change)) == hashed(config())


def test_the_version_of_the_code_changes_the_hash(monkeypatch):
    before = hashed(config())
    monkeypatch.setattr(options, "RESULT_VERSION", options.RESULT_VERSION + 1)
    shared = hashed(config())
    monkeypatch.setitem(
        METHODS._values, "with_tokens", replace(METHODS.get("with_tokens"), version=2)
    )
    assert len({before, shared, hashed(config())}) == 3


def test_the_version_of_the_channel_changes_the_hash_of_its_runs_alone(monkeypatch):
    direct, channel = (
        resolve(configure("synthetic_hard", "few_shot", {"method.readout": readout}))
        for readout in ("direct", "channel")
    )
    before = [hashed(direct), hashed(channel)]
    monkeypatch.setattr(options, "CHANNEL_VERSION", options.CHANNEL_VERSION + 1)
    assert hashed(direct) == before[0] and hashed(channel) != before[1]
    numbers = [one.get("version") for one in options.earlier_identities(channel)]
    assert [options.RESULT_VERSION, entry(channel).version, options.CHANNEL_VERSION - 1] in numbers
    tuned = resolve(configure("synthetic_hard", "soft_prompt", {"method.readout": "channel"}))
    assert options.version(tuned)[2] == options.CHANNEL_TUNING_VERSION


def test_options_of_the_memory_count_for_the_memory_alone():
    def named(readout, bandwidth):
        given = {"method.readout": readout, "method.bandwidth": bandwidth}
        return hashed(resolve(configure("synthetic_hard", "few_shot", given)))

    assert named("channel", 0.2) == named("channel", 0.3)
    assert named("memory", 0.2) != named("memory", 0.3)


def test_earlier_identities_are_those_that_earlier_versions_gave(monkeypatch):
    made = resolve(config())
    monkeypatch.setattr(options, "RESULT_VERSION", 3)
    now, threads = identity(made), {"threads": made.threads}
    unversioned = {n: v for n, v in now.items() if n != "version"} | {"batch_size": 64}
    earlier = [now | threads | {"version": [shared, 1]} for shared in (1, 2)]
    assert list(options.earlier_identities(made)) == [*earlier, unversioned | threads]


def test_task_and_method_may_be_given_by_name():
    made = resolve(RunConfig(task="human_enhancers_cohn", method="majority"))
    assert (made.task.name, made.method.name) == ("enhancer_cohn", "majority")
    with pytest.raises(InputError, match="task= is missing"):
        resolve(RunConfig(method="majority"))
    with pytest.raises(InputError, match="unknown method 'majorty'; did you mean majority?"):
        resolve(RunConfig(task="synthetic_easy", method="majorty"))


def test_all_controls_are_those_that_can_be_run(capsys):
    every = resolve(config("with_shots", controls=["all"], k=2)).controls
    assert "demos_other_task" not in every and "random_backbone" in every
    assert "demos_other_task is left out: other_task=synthetic_easy is the task itself" in (
        capsys.readouterr().err
    )
    other = config("with_shots", controls=["all"], k=2, other_task="synthetic_hard")
    assert set(resolve(other).controls) == {*every, "demos_other_task"}
    assert not capsys.readouterr().err


def test_the_other_task_counts_where_its_rows_are_shown():
    shown = config("with_shots", control="demos_other_task", other_task="synthetic_hard")
    assert hashed(shown) != hashed(replace(shown, other_task="enhancer_cohn"))


@pytest.mark.parametrize("other", ["synthetic_easy", "nowhere"])
def test_another_task_must_be_another_one_that_exists(other):
    with pytest.raises(InputError, match=other):
        resolve(config("with_shots", controls=["demos_other_task"], other_task=other))


def test_all_controls_are_those_that_apply():
    no_demonstrations = ["words_swapped", "train_labels_shuffled", "random_backbone"]
    assert resolve(config("with_both", controls=["all"])).controls == no_demonstrations
    assert resolve(config("majority", controls=["all"])).controls == ["train_labels_shuffled"]
    twice = config("with_both", controls=["words_swapped", "words_swapped"])
    assert resolve(twice).controls == ["words_swapped"]


def test_contents_of_data_and_weights_change_the_hash():
    plain = hashed(config())
    others = {
        hashed(config(), data="e"),
        hashed(config(), weights="x"),
        hashed(config(), "d", "w", "r"),
    }
    assert len(others | {plain}) == 4


def test_k_and_its_resolved_name_give_the_same_hash():
    assert hashed(config(k=9)) == hashed(config(prompt_tokens=9)) != hashed(config())


def test_a_method_without_backbone_is_one_run_whatever_the_backbone():
    one = config("majority")
    assert hashed(one) == hashed(
        replace(one, batch_size=1, precision="bf16", keep_gb=8), weights="x"
    )
    assert hashed(one) != hashed(replace(one, seed=1))


def test_a_configuration_comes_back_from_a_report():
    from dataclasses import asdict

    made = resolve(config("linear_probe", n_train=5))
    back = from_dict(asdict(made))
    assert back == made and type(back.method) is LinearProbeConfig
    with pytest.raises(InputError, match="lr"):
        from_dict(asdict(made) | {"method": {"name": "majority", "lr": 1}})
    assert MajorityConfig() == MajorityConfig(name="")
