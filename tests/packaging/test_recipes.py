"""Dockerfile, conda recipe and citation say what pyproject.toml says."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
"""Names of packages on conda-forge, where they differ."""


def conda() -> dict:
    """The recipe, its variables filled in."""
    text = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()
    version = re.search(r'{% set version = "(.*)" %}', text)
    assert version is not None
    text = text.replace("{{ version }}", version[1]).replace("{{ PYTHON }}", "python")
    return yaml.safe_load(re.sub(r"{%.*%}", "", text))


def test_there_is_one_version():
    version = PROJECT["version"]
    assert str(conda()["package"]["version"]) == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version


def test_the_conda_recipe_has_the_requirements_of_the_package():
    recipe = conda()["requirements"]
    wanted = [f"python {PROJECT['requires-python']}"]
    for one in PROJECT["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(.*)", one).groups()
        wanted.append(f"{CONDA.get(name, name)} {bound}".strip())
    assert recipe["run"] == wanted
    assert f"python {PROJECT['requires-python']}" in recipe["host"]
    assert (ROOT / "packaging" / "conda" / conda()["source"]["path"]).resolve() == ROOT


def test_the_image_copies_what_is_there_and_the_context_holds_it():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    kept = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert kept == set(copied)
    assert {"backbone", "tasks", "prompts", "icl", "experiments"} < kept
    instructions = {line.split()[0] for line in lines if re.match(r"[A-Z]+ ", line)}
    assert instructions <= {"ARG", "FROM", "SHELL", "RUN", "ENV", "COPY", "USER", "WORKDIR", "CMD"}
    assert "USER 10001" in lines
