"""Data sets of the Hugging Face Hub, through the library `datasets` and its cache."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from backbone.common.errors import InputError
from tasks.sources.rows import PartRows, clean
from tasks.task import Task


class HubUnavailable(Exception):
    """Raised when a data set is neither in the cache nor can be fetched, with the reason."""


@dataclass(frozen=True)
class HubDataset:
    """A data set on the Hub, in Parquet form.

    Attributes:
        repository: Its name, as `owner/name`.
        sequence: Column of the sequences.
        label: Column of the labels.
        config: Its configuration, where it has several.
        only: A column and its value, where one set holds the rows of several tasks.
    """

    repository: str
    sequence: str = "seq"
    label: str = "label"
    config: str | None = None
    only: tuple[str, str] | None = None

    def read(self, task: Task) -> tuple[dict[str, PartRows], str | None]:
        """Load all splits, from the Hub or, without a network, from the cache.

        Returns:
            The rows of each split (train, validation, test), and their commit.

        Raises:
            HubUnavailable: If it is neither in the cache nor can be fetched.
            InputError: If its columns or rows are not what the task declares.
        """
        import datasets
        from huggingface_hub.utils import httpx

        failures = (OSError, ValueError, RuntimeError, httpx.HTTPError)
        try:
            with _offline_if_unreachable():
                loaded = datasets.load_dataset(self.repository, self.config)
        except (*failures, datasets.exceptions.DatasetsError) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise HubUnavailable(lines[0]) from error
        rows = {name: self._rows(table, name, task) for name, table in loaded.items()}
        return rows, _commit(loaded)

    def _rows(self, table, name: str, task: Task) -> PartRows:
        where = f"Hub data set {self.repository}, {name}"
        needed = [self.sequence, self.label, *([self.only[0]] if self.only else [])]
        for column in needed:
            if column not in table.column_names:
                raise InputError(f"{where}: no column {column}; it has {table.column_names}")
        origin = f"the {name} split of {self.repository}"
        if self.only:
            column, value = self.only
            rows = [row for row, found in enumerate(table[column]) if found == value]
            if not rows:
                raise InputError(f"{where}: no row has {column}={value}")
            table, origin = table.select(rows), f"{value} in {origin}"
        pairs = zip(table[self.sequence], table[self.label], strict=True)
        return clean(pairs, task, where, origin)


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Restrict `datasets` to its cache while the Hub does not answer.

    Otherwise it retries six times, for some 25 seconds, before it looks into its cache.
    """
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    logger = logging.getLogger("datasets.load")
    level = logger.level
    try:
        if before or not _reachable():
            datasets.config.HF_HUB_OFFLINE = True
            logger.setLevel(logging.ERROR)
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
        logger.setLevel(level)


def _reachable() -> bool:
    """Whether the Hub answers at all, with whatever status."""
    from huggingface_hub import constants

    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=5)
    except HTTPError:
        return True
    except OSError:
        return False
    return True


def _commit(loaded) -> str | None:
    """Return the commit of a loaded data set, which names its folder in the cache."""
    for table in loaded.values():
        for file in table.cache_files:
            folder = Path(file["filename"]).parent.name
            if len(folder) == 40 and set(folder) <= set("0123456789abcdef"):
                return folder
    return None
