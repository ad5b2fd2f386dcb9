"""Tables of forecasts or scores, one of each piece of a long file, as one."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

TIME = "time"


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """The rows of tables with the same columns, one below the other.

    Stamps are written as dates where all of a table lie at midnight; beside others they are
    moments like these.
    """
    parts = list(tables)
    kinds = {part.schema.field(TIME).type for part in parts}
    if len(kinds) > 1:
        parts = [_moments(part) for part in parts]
    return pa.concat_tables(parts, promote_options="permissive")


def _moments(table: pa.Table) -> pa.Table:
    place = table.schema.get_field_index(TIME)
    if not pa.types.is_date(table.schema.field(place).type):
        return table
    return table.set_column(place, TIME, table.column(place).cast(pa.timestamp("s")))
