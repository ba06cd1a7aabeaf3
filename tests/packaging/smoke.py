"""What an installed package must be able to do, outside the checkout and without a network.

`python -I smoke.py` in an empty folder, with the Python of an environment in which the package is
installed; `wheel.py` does that. It prints a line for each check and ends at the first that fails.
"""

import subprocess
import sys
from contextlib import redirect_stdout
from importlib.metadata import distribution, files
from io import StringIO
from pathlib import Path

NAME = "genomic-icl"
PACKAGES = ("backbone", "tasks", "prompts", "icl", "experiments")
DATA = (
    *(f"{package}/py.typed" for package in PACKAGES),
    *(f"backbone/weights/{name}/model.safetensors" for name in ("bundled", "bundled-icl")),
    *(f"backbone/weights/{name}/pretraining.bed" for name in ("bundled", "bundled-icl")),
    *("backbone/weights/README.md", "backbone/weights/overlap.csv"),
    *(f"experiments/page/page.{suffix}" for suffix in ("css", "js", "html.jinja")),
    *("experiments/recipes/benchmark.yaml", "experiments/recipes/e_coli.bed"),
    "experiments/recipes/recall/model.safetensors",
)
SCRIPTS = Path(sys.executable).parent
QUICK = ("n_train=60", "test_rows=40", "val_rows=20", "threads=1", "audit=none")


def called(script: str, *words: str, code: int = 0) -> str:
    """Call a console script and return what it printed; another exit code than `code` ends this."""
    done = subprocess.run([SCRIPTS / script, *words], capture_output=True, text=True)
    if done.returncode != code:
        sys.exit(f"{script} {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if code == 0 else done.stderr


def check(holds: bool, what: str) -> None:
    """Print what holds, or end."""
    if not holds:
        sys.exit(f"not so: {what}")
    print(f"ok: {what}", flush=True)


def main() -> None:
    """Check the installed files, every command's help, and one use of each kind of file."""
    there = {str(path): path for path in files(NAME) or ()}
    for name in DATA:
        check(name in there and Path(there[name].locate()).is_file(), name)
    inside = {str(path) for path in there.values()}
    check(not [path for path in inside if path.startswith(("tests/", "docs/"))], "no tests")

    for script in distribution(NAME).entry_points.select(group="console_scripts"):
        with redirect_stdout(StringIO()) as printed:  # in this process: torch is imported once
            code = script.load()(["--help"])
        is_file = (SCRIPTS / script.name).is_file()
        check(is_file and code == 0 and bool(printed.getvalue().strip()), f"{script.name} --help")

    check("synthetic_easy" in called("icl-tasks", "list"), "icl-tasks list")
    for backbone in ("bundled", "bundled-icl"):
        words = ("task=synthetic_easy", "method=few_shot", "shots=1", f"backbone={backbone}")
        check("few_shot" in called("icl-run", *words, *QUICK), f"backbone={backbone}")
    called("icl-run", "task=synthetic_easy", "method=soft_prompt", "k=2", *QUICK)
    (learned,) = Path("runs/synthetic_easy/soft_prompt").glob("*/learned.safetensors")
    Path("x.fa").write_text(">one\nACGTACGTACGTAACCGGTT\n")
    called("icl-predict", f"run={learned.parent}", "fasta=x.fa", "out=scores.tsv")
    check("one" in Path("scores.tsv").read_text(), "a learned prompt applied to a FASTA file")
    called("icl-report", "runs=runs")
    page = Path("runs/report.html").read_text()
    check("<style>" in page and "few_shot" in page, "the page with its assets")

    said = called("icl-benchmark", "recipe=", code=2)
    check("benchmark" in said and "species" in said, "recipe= names the recipes")
    recipe = ("recipe=benchmark", "tasks=[synthetic_easy]", "methods=[majority]", "seeds=1")
    called("icl-benchmark", *recipe, "n_train=60", "threads=1")
    check(Path("runs-benchmark/benchmark.csv").is_file(), "recipe=benchmark runs")


if __name__ == "__main__":
    main()
