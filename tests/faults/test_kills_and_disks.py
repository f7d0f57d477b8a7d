"""Verbs that are killed, or meet a full disk: they go on and end as if undisturbed."""

import os
import resource
import shutil
import signal
from pathlib import Path

import pytest

from continual_repmode.experiments.record import RunRecord
from tests.faults.conftest import (
    VERBS,
    attempt,
    begin,
    finish,
    killed_at,
    leftovers,
    outcome,
)

MOMENTS = {"run": (1, 6, 30), "extend": (2, 9, 18), "export": (1, 2)}
FEW = (1, 2, 3, 5)
STEPS = {"tables": 9}
"""Of moments that every one is too many of."""
ALL = [pytest.param(v, marks=[pytest.mark.slow] * (v == "tables")) for v in VERBS]
LIMITS = (1, 700, 9_000)
"""Bytes that a file may have, as on a disk that fills up."""


def again(verb: str, lab: Path) -> tuple[str, ...]:
    """The words by which a verb goes on."""
    if verb == "run" and (lab / "new/config.yaml").is_file():
        return ("run", "resume=new")
    return VERBS[verb]


def assert_it_goes_on(verb, lab, expected, tally, ending):
    done = attempt(again(verb, lab), lab, lambda: None)
    finished = "exists" in done.said  # it was killed when all was done
    assert done.status == 0 or finished, done.said
    assert outcome(verb, lab) == expected(verb)
    assert leftovers(lab) == []
    tally.add(done, equal=True)
    if ending.status == 2:
        tally.counts["refused in one line"] += 1


@pytest.mark.parametrize("verb", ALL)
def test_killed_at_any_moment_it_goes_on(verb, lab, template, expected, tally):
    for moment in MOMENTS.get(verb, FEW):
        ending = attempt(VERBS[verb], lab, killed_at(moment))
        if ending.status == 0:
            break  # it had less to wait for
        assert ending.status == -9, ending.said
        assert_it_goes_on(verb, lab, expected, tally, ending)
        shutil.rmtree(lab)
        shutil.copytree(template, lab)


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_every_moment_it_goes_on(verb, lab, template, expected, tally):
    for moment in range(1, 200, STEPS.get(verb, 1)):
        ending = attempt(VERBS[verb], lab, killed_at(moment))
        if ending.status == 0:
            break
        assert_it_goes_on(verb, lab, expected, tally, ending)
        shutil.rmtree(lab)
        shutil.copytree(template, lab)


def killed_before_a_record() -> None:
    """Kill the process when a run of a table is done, but has no record yet."""
    RunRecord.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)


def test_a_table_killed_before_the_record_of_the_base(lab, expected, tally):
    ending = attempt(VERBS["tables"], lab, killed_before_a_record)
    assert ending.status == -9, ending.said
    (base,) = (lab / "runs/tables").glob("*/checkpoints/experience_0.safetensors")
    assert list((lab / "new/runs").iterdir()) == []
    assert_it_goes_on("tables", lab, expected, tally, ending)
    assert (lab / "new/runs" / f"{base.parents[1].name}.json").is_file()


def full_at(num_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))


@pytest.mark.parametrize("verb", ALL)
def test_a_full_disk_is_one_line_and_then_it_goes_on(
    verb, lab, template, expected, tally
):
    for limit in LIMITS:
        ending = attempt(VERBS[verb], lab, lambda limit=limit: full_at(limit))
        assert ending.is_clean, ending.said
        if ending.status == 0:
            continue
        assert "cannot be written (" in ending.said, ending.said
        assert " free)" in ending.said, ending.said
        assert leftovers(lab / "run") == []
        assert_it_goes_on(verb, lab, expected, tally, ending)
        shutil.rmtree(lab)
        shutil.copytree(template, lab)


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "export"])
def test_two_at_once_do_no_harm(verb, lab, expected, tally):
    endings = [finish(p) for p in [begin(VERBS[verb], lab) for _ in range(2)]]
    for ending in endings:
        assert ending.is_clean, ending.said
        tally.add(ending)
    assert any(ending.status == 0 for ending in endings), [e.said for e in endings]
    assert outcome(verb, lab) == expected(verb)
    assert leftovers(lab) == []
