"""Every row of every table can be run, and says what it is compared with."""

import pytest

from continual_repmode.combinations import check_combination
from continual_repmode.compose import compose_runs
from continual_repmode.errors import UserError
from continual_repmode.experiments.identity import resolved_settings
from continual_repmode.experiments.tables import TABLES


@pytest.fixture(scope="module")
def composed():
    """Settings of every row and every base."""
    wanted = {
        settings
        for table in TABLES.values()
        for row in table.rows
        for settings in (row.settings, row.base)
        if settings is not None
    }
    found = compose_runs([(*settings, "train=mini") for settings in wanted])
    return dict(zip(wanted, found, strict=True))


def test_every_row_is_a_run_that_is_not_refused(composed):
    checked = set()
    for table in TABLES.values():
        for row in table.rows:
            config = composed[row.settings]
            if row.base is not None:
                config.base_model = "base.safetensors"
            what = repr((config.model, config.strategy, config.stream(), row.base))
            if what not in checked:  # most rows differ in what they train on
                check_combination(config)
            checked.add(what)


def test_a_base_run_learns_the_first_experience_with_the_same_network(composed):
    for table in TABLES.values():
        for row in table.rows:
            if row.base is not None:
                base, config = composed[row.base], composed[row.settings]
                assert base.stream().stream == config.stream().stream[:1], row.name
                assert base.model == config.model, row.name
                check_combination(base)


def test_all_rows_of_a_table_have_the_same_budget(composed):
    for name, table in TABLES.items():
        trainings = [composed[row.settings].train for row in table.rows]
        budgets = {
            (t.epochs, t.extension_epochs, t.batch_size, t.validate_every)
            for t in trainings
        }
        assert len(budgets) == 1, name


def test_no_two_rows_of_a_table_are_the_same_run_or_have_one_name(composed):
    for table in TABLES.values():
        settings = [
            (resolved_settings(composed[row.settings]), row.base) for row in table.rows
        ]
        names = [row.name for row in table.rows]
        for number, row in enumerate(table.rows):
            assert settings[number] not in settings[:number], row.name
            assert row.name not in names[:number], row.name
            assert table.reference_of(row).name in names, row.name


def test_the_tables_have_the_rows_of_the_paper():
    def published_in(name):
        return [row for row in TABLES[name].rows if row.paper]

    assert len(published_in("table1")) == len(published_in("methods")) == 9
    assert len(published_in("table2")) == 15
    published = published_in("table3")
    assert [row.name for row in published] == ["multinet", "multihead_dec", "repmode"]


def test_an_unknown_row_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"rows=foo: table1 has the rows multinet, "):
        TABLES["table1"].row("foo")
