"""The repository publishes in ``results/`` and RESULTS.md what its records say."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from continual_repmode.experiments import choices, strengths
from continual_repmode.experiments.markdown import format_markdown
from continual_repmode.experiments.planned import Places, plan
from continual_repmode.experiments.report import format_csv, gather
from continual_repmode.experiments.tables import TABLES

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"
PUBLISHED = sorted(path.relative_to(RESULTS) for path in RESULTS.rglob("*.md"))


def made_with(table):
    """The seeds and the settings that a published table names."""
    text = (RESULTS / table).read_text(encoding="utf-8")
    seeds, settings = re.search(r"runs, seeds ([\d, ]+); `(.+?)`;", text).groups()
    return settings.split(), [int(seed) for seed in seeds.split(",")]


@pytest.fixture(scope="module")
def planned():
    """The runs of every published table."""
    return {
        table: plan(TABLES[table.stem].rows, *made_with(table)) for table in PUBLISHED
    }


@pytest.fixture(scope="module")
def measured(planned):
    def found(table, runs):
        places = Places(RESULTS / table.parent, ROOT / "no" / "runs")
        return gather(TABLES[table.stem], runs, made_with(table)[0], places)

    return {table: found(table, runs) for table, runs in planned.items()}


def test_the_tables_of_the_paper_are_published():
    assert {"table1", "table2", "table3", "strategies"} <= {p.stem for p in PUBLISHED}


def test_a_table_is_what_its_records_say(measured):
    for table in PUBLISHED:
        for suffix, written in ((".md", format_markdown), (".csv", format_csv)):
            path = (RESULTS / table).with_suffix(suffix)
            assert written(measured[table]) == path.read_text(encoding="utf-8"), path


def test_every_record_belongs_to_a_published_table(planned):
    wanted = defaultdict(set)
    for table, runs_of in planned.items():
        for runs in runs_of.values():
            keys = {run.key for run in runs}
            bases = {run.base.key for run in runs if run.base}
            wanted[RESULTS / table.parent / "runs"] |= keys | bases
    for path in RESULTS.rglob("runs/*.json"):
        assert path.stem in wanted[path.parent], path


def test_the_chosen_strength_loses_and_misses_least(measured):
    def loss(found):
        new, lost = found.task("mse", strengths.NEW_TASK), found.forgetting("mse")
        return new.mean + lost.mean

    for strategy, kind in strengths.tuned().items():
        tried = [
            found
            for found in measured[Path("strengths.md")].rows
            if f"strategy={strengths.option(strategy)}" in found.row.settings
        ]
        assert min(tried, key=loss).row.name == kind.tuning.chosen, strategy


def test_the_chosen_tries_have_the_lowest_validation_error(measured):
    ways = {
        way.label: name for name, way in (choices.JOINT | choices.EXTENDING).items()
    }
    tables = [table for table in PUBLISHED if TABLES[table.stem].layout == "choices"]
    for table in tables:
        incomplete = {f.row.group for f in measured[table].rows if not f.records}
        for row, group in measured[table].lowest_validation().items():
            if group not in incomplete:
                way = ways[group]
                assert row == f"{way}_{choices.CHOSEN.get(way)}"


def test_the_report_quotes_the_tables():
    lines = (ROOT / "RESULTS.md").read_text(encoding="utf-8").splitlines()
    quoted = {line for line in lines if re.match(r"\|.*\d\.\d", line)}
    known = {
        line
        for path in PUBLISHED
        for line in (RESULTS / path).read_text(encoding="utf-8").splitlines()
    }
    assert quoted
    assert quoted <= known
