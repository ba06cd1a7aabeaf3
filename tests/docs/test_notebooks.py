"""The notebooks run from their sources, and hold what their sources say."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import matplotlib
import pytest
import torch

from tests.docs.pages import ROOT

FOLDER = ROOT / "docs" / "notebooks"
SPEC = spec_from_file_location("notebooks_build", FOLDER / "build.py")
assert SPEC is not None and SPEC.loader is not None
build = module_from_spec(SPEC)
sys.modules[SPEC.name] = build  # where its dataclass looks for its module
SPEC.loader.exec_module(build)
SOURCES = {source.stem: source for source in build.sources()}
PRINTED = {
    "first_prompt": ["best possible 0.95", "soft_prompt", "kmer_logreg"],
    "own_data": ["LEAK. near-duplicate", "No leak: no test or validation row", "random_backbone"],
    "what_a_prompt_reads": ["with the motif", "explained/bases.tsv", "delta_log_odds"],
}


def test_there_are_three():
    assert set(SOURCES) == set(PRINTED)


@pytest.mark.parametrize("name", SOURCES)
def test_a_notebook_runs_from_its_source(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ICL_DATA", raising=False)
    matplotlib.use("agg")
    try:
        outputs = sum(build.run(build.cells_of(SOURCES[name])), [])
    finally:
        torch.use_deterministic_algorithms(False)
    text = "".join("".join(one.get("text", ())) for one in outputs)
    for part in PRINTED[name]:
        assert part in text


@pytest.mark.parametrize("name", SOURCES)
def test_the_notebook_has_the_cells_of_its_source_and_small_outputs(name: str) -> None:
    """`python docs/notebooks/build.py NAME` writes it anew."""
    path = build.notebook_of(SOURCES[name])
    found = json.loads(path.read_text(encoding="utf-8"))
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in found["cells"]]
    assert cells == [(cell.kind, cell.text) for cell in build.cells_of(SOURCES[name])]
    assert found["nbformat"] == 4 and path.stat().st_size < 100_000
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert "%pip install" in "".join(code[0]["source"])
    assert any(cell["outputs"] for cell in code)
