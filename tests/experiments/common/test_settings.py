import shlex
from dataclasses import asdict, replace

import pytest
from hydra import compose, initialize
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from experiments.common.settings import changed_options, command, settings
from icl.config import options
from icl.config.hydra_cli import _prepare
from icl.config.options import (
    RunConfig,
    TaskConfig,
    VerbalizerConfig,
    from_hydra,
    identity,
    resolve,
)
from icl.methods.catalog import METHODS
from icl.run import COMMAND


def configured(method="soft_prompt", own=None, **changes):
    made = METHODS.get(method).config(name=method, **(own or {}))
    return resolve(RunConfig(task=TaskConfig("synthetic_easy"), method=made, **changes))


def read_back(line: str) -> RunConfig:
    """What `python -m icl.run` makes of a command, read by Hydra itself."""
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "icl.run"]
    options.register()
    with initialize(version_base="1.3", config_path=None):
        prepared = _prepare(COMMAND, words[3:])
        return from_hydra(compose(config_name=options.CONFIG_NAME, overrides=prepared))


def test_a_run_of_defaults_is_named_by_task_method_and_budget():
    line = command(asdict(configured()))
    assert line == "python -m icl.run task=synthetic_easy method=soft_prompt prompt_tokens=16"


def test_only_what_was_changed_is_said():
    config = asdict(configured(own={"lr": 0.5}, seed=3, seeds=2, data="/a/folder", out="elsewhere"))
    assert changed_options(config) == {"prompt_tokens": 16, "seed": 3, "method.lr": 0.5}
    assert settings(config) == "seed=3 method.lr=0.5"
    assert command(config).endswith("prompt_tokens=16 seed=3 method.lr=0.5 data=$ICL_DATA")


@pytest.mark.parametrize("method", METHODS.names())
def test_the_command_of_every_method_gives_its_run_again(method):
    config = configured(method, seed=5, threads=1, n_train=30)
    assert identity(read_back(command(asdict(config)))) == identity(config)


@examples(max_examples=20, deadline=None)
@given(
    st.integers(0, 4),
    st.sampled_from([None, ["A", "N"], ["ACGT", "TT"]]),
    st.floats(1e-6, 1.0),
    st.sampled_from(["bundled", "a folder, with (signs) $x = 'y'", "random:bundled"]),
    st.sampled_from([None, "train_labels_shuffled"]),
)
def test_whatever_was_changed_is_read_back(shots, words, lr, backbone, control):
    config = configured(
        own={"lr": lr},
        prompt_tokens=0,
        shots=shots,
        backbone=backbone,
        control=control,
        verbalizer=VerbalizerConfig(words=words),
    )
    again = read_back(command(asdict(config)))
    assert replace(again, out=config.out) == config


def test_a_method_of_another_version_keeps_all_its_options():
    config = asdict(configured("majority"))
    config["method"] = {"name": "of_another_version", "width": 3}
    assert changed_options(config) == {"method.width": 3}
