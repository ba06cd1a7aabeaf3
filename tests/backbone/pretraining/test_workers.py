"""Batches drawn ahead by other processes."""

import os

import pytest

from backbone.common.errors import InputError
from backbone.pretraining.workers import Workers


def cube(step: int, size: int) -> tuple[int, int]:
    return step**3 + size, os.getpid()


def die(step: int) -> None:
    os._exit(1)


def test_workers_return_what_this_process_would_draw():
    alone, helped = Workers({"cube": cube}, 0), Workers({"cube": cube}, 2)
    for step, size in ((0, 5), (1, 5), (2, 7), (3, 7)):  # the size changes, as lengths of rows do
        value, where = alone.draw("cube", step, size=size)
        assert where == os.getpid()
        drawn, elsewhere = helped.draw("cube", step, size=size)
        assert drawn == value
        assert elsewhere != os.getpid()
    helped.close()


def test_a_worker_that_died_is_one_clear_line():
    workers = Workers({"die": die}, 1)
    with pytest.raises(InputError, match="a process that draws batches has died"):
        workers.draw("die", 0)
    workers.close()
