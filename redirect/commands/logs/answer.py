"""Prints the answer to the user's SQL."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import date, time
from decimal import Decimal
from itertools import islice
from typing import Any

from redirect.commands.logs.text import Table, shown

_BATCH_ROWS = 1000


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str | None) -> None:
    """As CSV, as one JSON object a line, or as a table."""
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(_text, row) for row in rows)
    elif form == "json":
        objects = (dict(zip(columns, row, strict=True)) for row in rows)
        sys.stdout.writelines(json.dumps(each, default=_plain) + "\n" for each in objects)
    else:
        table, rest, batch = Table([shown(column) for column in columns]), iter(rows), None
        while batch is None or batch:
            batch = [[shown(_text(value)) for value in row] for row in islice(rest, _BATCH_ROWS)]
            sys.stdout.writelines(f"{line}\n" for line in table.lines(batch))


def _text(value: Any) -> Any:
    return _plain(value) if isinstance(value, date | time) else value


def _plain(value: Any) -> Any:
    """A value of a type that JSON does not have."""
    if isinstance(value, date | time):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)
