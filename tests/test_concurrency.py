"""Work ahead: in order, prompt, and left without a trace."""

import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.processes import PATIENCE

from veduta.concurrency import in_order, one_blas_thread


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 4))
def test_results_come_in_the_order_of_the_items(items, workers):
    assert list(in_order(lambda i: i * 2, items, workers)) == [(i, i * 2) for i in items]


def test_a_result_does_not_wait_for_the_next_item():
    go_on = threading.Event()

    def slowly():
        yield 1
        assert go_on.wait(PATIENCE)
        yield 2

    results = in_order(lambda i: i, slowly())
    assert next(results) == (1, 1)
    go_on.set()
    assert list(results) == [(2, 2)]


def test_errors_of_work_and_of_items_come_in_their_turn():
    def items():
        yield 1
        raise OSError("no more")

    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda i: 1 // i, [1, 0, 1]))
    results = in_order(lambda i: i, items())
    assert next(results) == (1, 1)
    with pytest.raises(OSError, match="no more"):
        next(results)


def test_leaving_early_stops_drawing_items():
    drawn = []

    def endless():
        i = 0
        while True:
            drawn.append(i)
            yield i
            i += 1

    results = in_order(lambda i: i, endless())
    next(results)
    results.close()
    before = len(drawn)
    time.sleep(0.4)
    assert len(drawn) <= before + 1


def test_blas_is_back_to_what_it_was():
    with one_blas_thread():
        pass
    with one_blas_thread():
        pass


def test_memory_given_back_is_kept_without_a_word_wherever_that_can_be_asked_for():
    program = (
        "from veduta.concurrency import keep_memory; keep_memory(); import numpy; print(len(numpy.zeros(9_000_000)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("9000000\n", "")
