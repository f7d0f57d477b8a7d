"""Lists of work: outcomes, deaths of workers, signals, parts, and a Dask cluster."""

import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from importlib import import_module
from multiprocessing import active_children
from pathlib import Path

import pytest

from continual_repmode import processes, stopping
from continual_repmode.errors import UserError
from continual_repmode.stopping import Interrupted, heeding_signals
from continual_repmode.workers import HERE, Part, Workers

TWO = Workers(2)


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Functions that processes can import, which have the search path of this one."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import listed_work

    return listed_work


def outcomes(workers, call, items):
    with closing(workers.work(call, items)) as ended:
        found = dict(ended)
    return [
        str(found[i]) if isinstance(found[i], UserError) else found[i]
        for i in range(len(items))
    ]


@pytest.mark.parametrize("workers", [HERE, TWO])
def test_every_item_has_its_outcome_and_a_mistake_stops_no_other(workers, calls):
    assert outcomes(workers, calls.double, range(6)) == [0, 2, 4, "no threes", 8, 10]
    assert outcomes(workers, calls.double, []) == []


@pytest.mark.parametrize("workers", [HERE, TWO])
def test_a_fault_of_the_program_ends_the_work(workers, calls):
    with pytest.raises(TypeError):
        outcomes(workers, calls.double, [1, None, 2])
    assert not active_children()


def test_what_a_dying_process_was_at_is_done_by_another(tmp_path, calls):
    found = outcomes(TWO, partial(calls.die_once, tmp_path), range(8))
    assert found[:4] + found[5:] == [0, 1, 2, 3, 5, 6, 7]
    assert "a worker process died each time; it may lack memory" in found[4]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_interrupts_what_has_begun_and_begins_no_more(tmp_path, name, count):
    process = start_waiting(tmp_path, count)
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=30) == 75
    assert len(list(tmp_path.glob("* begun"))) == count
    assert len(list(tmp_path.glob("* cleaned"))) == count


def test_a_second_signal_ends_it_at_once(tmp_path):
    (tmp_path / "stuck").touch()
    process = start_waiting(tmp_path, 1)
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == -signal.SIGTERM


def start_waiting(folder, count):
    script = Path(__file__).with_name("listed_work.py")
    process = subprocess.Popen(
        [sys.executable, script, str(count)],
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("* begun"))) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


def test_parts_share_a_list_and_are_told_as_two_numbers():
    items = list(range(47))
    parts = [Part.parse(f"{number}/20").take(items) for number in range(1, 21)]
    assert parts[2] == [2, 22, 42]
    assert sorted(item for part in parts for item in part) == items
    for text in ("0/3", "4/3", "3", "a/b", "-1/2", "1/2/3", ""):
        with pytest.raises(UserError, match=f"--part {text}: use NUMBER/PARTS"):
            Part.parse(text)


def test_a_scheduler_that_is_not_there_is_told(monkeypatch, calls):
    monkeypatch.setattr("continual_repmode.workers._CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:9", "nowhere.json"):
        with pytest.raises(UserError, match=f"scheduler {address}: no Dask scheduler"):
            outcomes(Workers(1, address), calls.double, [1])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_a_signal_waits_for_the_end_of_an_import(tmp_path, monkeypatch, name):
    """It is looked for again and again, also while who has sent it is not done yet."""

    def send_slowly(number):
        processes.send_to_main(number)
        time.sleep(0.3)

    monkeypatch.setattr(stopping, "send_to_main", send_slowly)
    monkeypatch.syspath_prepend(tmp_path)
    lines = (
        "import os, signal, time",
        f"os.kill(os.getpid(), signal.{name})",
        "time.sleep(0.1)",
        "whole = True",
    )
    (tmp_path / f"slow_{name}.py").write_text("\n".join(lines))

    def wait():
        with heeding_signals():
            import_module(f"slow_{name}")
            time.sleep(10)

    with pytest.raises(Interrupted):
        wait()
    assert sys.modules.pop(f"slow_{name}").whole
