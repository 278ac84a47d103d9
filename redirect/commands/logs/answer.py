"""Prints the answer to the user's SQL."""

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, time
from decimal import Decimal
from itertools import islice
from math import isfinite
from typing import Any

from redirect.commands.loading import leave
from redirect.commands.logs.text import Table, shown

_BATCH_ROWS = 1000


def print_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str | None) -> None:
    """As CSV, as one JSON object a line, or as a table."""
    if form == "csv":
        if isinstance(sys.stdout, io.TextIOWrapper):  # for machines, as the lines of the log are: whatever the locale
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(map(_text, row) for row in rows)
    elif form == "json":
        if twice := [name for name, count in Counter(columns).items() if count > 1]:
            leave(2, f"two columns are named {shown(twice[0])}, and an object has one of a name: name one with AS")
        objects = ({name: _as_json(value) for name, value in zip(columns, row, strict=True)} for row in rows)
        sys.stdout.writelines(json.dumps(each) + "\n" for each in objects)
    else:
        table, rest, batch = Table([shown(column) for column in columns]), iter(rows), None
        while batch is None or batch:
            batch = [[shown(_text(value)) for value in row] for row in islice(rest, _BATCH_ROWS)]
            sys.stdout.writelines(f"{line}\n" for line in table.lines(batch))


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | time) else value


def _as_json(value: Any) -> Any:
    """A value as JSON has it: what is no number is null, and all keys are strings."""
    match value:
        case None | bool() | int() | str():
            return value
        case float() | Decimal():
            return float(value) if isfinite(value) else None
        case dict():
            return {str(_text(key)): _as_json(each) for key, each in value.items()}
        case list() | tuple():
            return [_as_json(each) for each in value]
    return str(_text(value))
