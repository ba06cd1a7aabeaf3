"""The files in the user's cache folder: `python -m icl.cache list | clear [KIND ...]`.

`list` prints the folder of each kind of file with its size. `clear` removes the files of the named
kinds, or of all kinds. The cache can be removed at any time; its contents are then computed again.

    states   rows that a frozen backbone has encoded (`disk_gb=` of a run limits them)
    kinship  which rows of a task are relatives of each other
    weights  digests of checkpoints
    fasta    indexes of FASTA files

--json prints the result as one JSON object on standard output.
"""

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from backbone.common.command import entry_point, exit_code
from backbone.common.files import cache_folder
from backbone.common.names import unknown

KINDS = ("states", "kinship", "weights", "fasta")
COMMANDS = ("list", "clear")


def sizes(kinds: Sequence[str] = KINDS) -> dict[str, tuple[Path, int]]:
    """Return the folder of each kind of file, and the bytes of its files."""
    found = {}
    for kind in kinds:
        folder = cache_folder(kind)
        files = [file for file in folder.rglob("*") if file.is_file()]
        found[kind] = folder, sum(file.stat().st_size for file in files)
    return found


def read(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the command and the kinds that the words name; all kinds if they name none.

    Raises:
        InputError: If a command or a kind is unknown.
    """
    command, *named = words
    if command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    for kind in named:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    return command, named or KINDS


def run(words: Sequence[str]) -> Iterator[str]:
    """Yield a line for each kind of file, after removing its files where that is asked for.

    Raises:
        InputError: If a command or a kind is unknown.
    """
    command, kinds = read(words)
    for kind, (folder, size) in sizes(kinds).items():
        if command == "clear":
            shutil.rmtree(folder)
        done = "removed from" if command == "clear" else "in"
        yield f"{kind:<8} {size / 1e6:10.1f} MB {done} {folder}"


@entry_point
def main(words: Sequence[str]) -> int:
    """Run the command line and return its exit code; without arguments, print the help."""
    if not words or {"-h", "--help"} & set(words):
        return exit_code(lambda: [(__doc__ or "").rstrip()])
    return exit_code(lambda: run(words))


if __name__ == "__main__":
    sys.exit(main())
