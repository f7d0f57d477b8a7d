"""The repository publishes in ``results/`` and RESULTS.md what its records say."""

import re
from pathlib import Path

import pytest

from continual_repmode.experiments import strengths
from continual_repmode.experiments.campaign import Places, plan
from continual_repmode.experiments.csv_file import format_csv
from continual_repmode.experiments.markdown import format_markdown
from continual_repmode.experiments.report import gather
from continual_repmode.experiments.tables import TABLES

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"
SETTINGS = ["train=mini"]
PUBLISHED = sorted(path.stem for path in RESULTS.glob("*.md"))


def seeds_of(table):
    """The seeds that a published table names in its second paragraph."""
    text = (RESULTS / f"{table}.md").read_text(encoding="utf-8")
    found = re.search(r"runs, seeds ([\d, ]+);", text)
    return [int(seed) for seed in found[1].split(",")]


@pytest.fixture(scope="module")
def planned():
    """The runs of every published table."""
    return {
        name: plan(TABLES[name].rows, SETTINGS, seeds_of(name)) for name in PUBLISHED
    }


@pytest.fixture(scope="module")
def measured(planned):
    places = Places(RESULTS, ROOT / "no" / "runs")
    return {
        name: gather(TABLES[name], runs, SETTINGS, places)
        for name, runs in planned.items()
    }


def test_the_tables_of_the_paper_are_published():
    assert {"table1", "table2", "table3", "strategies"} <= set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_table_is_what_its_records_say(name, measured):
    def published(suffix):
        return (RESULTS / f"{name}{suffix}").read_text(encoding="utf-8")

    assert format_markdown(measured[name]) == published(".md")
    assert format_csv(measured[name]) == published(".csv")


def test_every_record_belongs_to_a_published_table(planned):
    wanted = {
        key
        for runs_of in planned.values()
        for runs in runs_of.values()
        for run in runs
        for key in (run.key, run.base.key if run.base else run.key)
    }
    assert {path.stem for path in (RESULTS / "runs").glob("*.json")} <= wanted


@pytest.mark.parametrize("strategy", strengths.CHOSEN)
def test_the_chosen_strength_loses_and_misses_least(strategy, measured):
    def loss(found):
        new, lost = found.task("mse", strengths.NEW_TASK), found.forgetting("mse")
        return new.mean + lost.mean

    tried = [
        found
        for found in measured["strengths"].rows
        if f"strategy={strategy}" in found.row.settings
    ]
    assert min(tried, key=loss).row.name == strengths.CHOSEN[strategy]


def test_the_report_quotes_the_tables():
    lines = (ROOT / "RESULTS.md").read_text(encoding="utf-8").splitlines()
    quoted = {line for line in lines if re.match(r"\|.*\d\.\d", line)}
    known = {
        line
        for path in RESULTS.glob("*.md")
        for line in path.read_text(encoding="utf-8").splitlines()
    }
    assert quoted
    assert quoted <= known
