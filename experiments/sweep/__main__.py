"""Many runs at once: a grid for a curve, or a search for settings.

`python -m experiments.sweep recipe=NAME task=TASK` takes the options of `python -m icl.run`, and
`space.OPTION=VALUES` for each option that differs between the runs. The sweep creates a study in
Optuna's storage and starts workers, each of which runs one cell after another. Finished runs are
not repeated, even if another command made them. A sweep that was stopped or killed resumes when it
is started again. A search uses validation rows only; the settings it chooses are then run on test
rows with seeds that the search did not use. The table is in the folder of runs, next to the output
of the workers.
"""

import sys
from collections.abc import Sequence

from backbone.common.command import entry_point
from backbone.common.json_output import JSON, JSON_HELP
from backbone.common.options import aligned, option_lines
from experiments.common.command import exit_code
from experiments.sweep.driver import sweep
from experiments.sweep.request import SPACE, Options, read_request

COMMAND = "python -m experiments.sweep"

RUN_OPTIONS = {
    f"{SPACE}OPTION=VALUES": "values of an option of a run: [0,4,16], or",
    "": "uniform, log, int or logint of (low,high)",
    "OPTION=VALUE": "an option of all runs, see python -m icl.run --help",
}


@entry_point
def main(words: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0, or 2 after one line about a mistake."""
    if not words or {"-h", "--help"} & set(words):
        print(f"{COMMAND} key=value ...\n")
        print("\n".join(aligned(option_lines(Options) | RUN_OPTIONS | {JSON: JSON_HELP})))
        return 0
    return exit_code(lambda: sweep(read_request(words)))


if __name__ == "__main__":
    sys.exit(main())
