import shlex
import sys
from multiprocessing import get_all_start_methods, get_context, get_start_method

from joblib import Parallel, delayed

from continual_repmode.processes import command_line, fresh_processes


def test_workers_of_joblib_can_start_processes_afresh():
    def exit_code():
        import time

        from continual_repmode.processes import fresh_processes

        process = fresh_processes().Process(target=time.sleep, args=(0,))
        process.start()
        process.join()
        return process.exitcode

    calls = [delayed(exit_code)() for _ in range(2)]
    assert Parallel(n_jobs=2)(calls) == [0, 0]  # so does Hydra's launcher of that name


def test_an_ordinary_process_keeps_its_default():
    before = get_start_method()
    assert before in get_all_start_methods()
    assert fresh_processes() is get_context("spawn")
    assert get_start_method() == before


def test_a_command_is_written_for_the_shell_at_hand(monkeypatch):
    words = ["predict", "my model", "it's", "plain"]
    assert shlex.split(command_line(words)) == words
    monkeypatch.setattr(sys, "platform", "win32")
    assert command_line(words) == 'predict "my model" it\'s plain'
