"""The tables by name.

Imports nothing heavy, so that the command can list the tables at once.
"""

from collections.abc import Mapping
from types import MappingProxyType

from continual_repmode.experiments.choices import (
    choices_table,
    extending_choices_table,
)
from continual_repmode.experiments.further_tables import (
    extensions_table,
    label_efficiency_table,
    orders_table,
    transfer_table,
)
from continual_repmode.experiments.paper_tables import (
    strategies_table,
    table1,
    table2,
    table3,
)
from continual_repmode.experiments.standard_tables import (
    economy_table,
    growth_table,
    methods_table,
    real_fields_table,
    recipe_table,
)
from continual_repmode.experiments.strengths import strengths_table
from continual_repmode.experiments.table import Table

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            table1(),
            table2(),
            table3(),
            extensions_table(),
            label_efficiency_table(),
            strategies_table(),
            strengths_table(),
            orders_table(),
            transfer_table(),
            choices_table(),
            extending_choices_table(),
            recipe_table(),
            methods_table(),
            economy_table(),
            growth_table(),
            real_fields_table(),
        )
    }
)
"""The tables by name."""
