"""Prints what commands show: tables on a terminal, tab-separated lines elsewhere, JSON with `--json`."""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from rexecutor.cli.failure import printable

if TYPE_CHECKING:
    from rexecutor.model.job import JobRecord


_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:]{8}\S*")
"""Matches a moment in ISO 8601."""
_CELL: Final = 60
"""Number of characters that a table shows of a text that may be long."""
_USUAL_WIDTH: Final = 80
"""Width of a terminal, in columns, from which a table does not wrap moments."""


def write_json(value: object) -> None:
    """Print one JSON value, indented."""
    import msgspec  # not needed for --help

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def write_line(text: str) -> None:
    """Print one line."""
    sys.stdout.write(printable(text) + "\n")


def write_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with headings: drawn on a terminal, elsewhere one tab-separated line for each row.

    On a terminal, a column is left out if all its cells are empty.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(row) + "\n" for row in (headings, *rows))
        return
    from rich.console import Console  # only a terminal needs these
    from rich.table import Table
    from rich.text import Text

    filled = [number for number in range(len(headings)) if not rows or any(row[number] for row in rows)]
    headings, rows = [headings[number] for number in filled], [[row[number] for number in filled] for row in rows]
    console = Console()
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(table.columns):
        column.overflow = "fold"
        if console.width >= _USUAL_WIDTH and any(_MOMENT.fullmatch(row[number]) for row in rows):
            column.min_width = max(len(row[number]) for row in rows)  # not wrapped, so that it can be read and copied
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def write_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print each field on a line, the name first. A text of several lines is indented below its name."""
    for name, text in fields:
        lines = [printable(line) for line in text.splitlines()]
        if len(lines) > 1:
            sys.stdout.write(f"{name}\n" + "".join(f"    {line}\n" for line in lines))
        else:
            sys.stdout.write(f"{name}  {''.join(lines)}\n")


def as_json(record: "JobRecord") -> dict[str, Any]:
    """Return a job for `write_json`: all its fields, with its data, metadata and result as nested JSON."""
    from msgspec.structs import asdict  # not needed for --help

    metadata, result = record.metadata, record.result
    return asdict(record) | {
        "data": _embedded(record.data),
        "metadata": None if metadata is None else _embedded(metadata),
        "result": None if result is None else _embedded(result),
    }


def short(text: str) -> str:
    """Return the text for a cell of a table, cut after `_CELL` characters."""
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _embedded(text: str) -> object:
    """Return stored JSON for embedding as it is; if it is not JSON, as in a damaged row, the text itself."""
    import msgspec  # not needed for --help

    try:
        msgspec.json.decode(text, type=msgspec.Raw)
        return msgspec.Raw(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return printable(text)
