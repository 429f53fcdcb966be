"""Prints what commands show: tables on a terminal, tab-separated lines elsewhere, JSON with `--json`."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from rexecutor.cli.failure import printable

if TYPE_CHECKING:
    from rich.table import Table

    from rexecutor.model.job import JobRecord


_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:]{8}\S*")
"""Matches a moment in ISO 8601."""
_CELL: Final = 60
"""Number of characters that a table shows of a text that may be long."""
_NUMBER: Final = re.compile(r"[\d,.+]*")
"""Matches a number, which is aligned to the right."""
_GAP: Final = 2
"""Spaces between two cells of a table; one if it is too wide."""
_NARROWEST: Final = 8
_USUAL_WIDTH: Final = 80
"""Width of a terminal, in columns, from which a table does not wrap moments."""


def write_json(value: object) -> None:
    """Print one JSON value, indented."""
    import msgspec  # not needed for --help

    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:  # of a damaged row
        encoded = msgspec.json.encode(_encodable(value))
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


def write_line(text: str) -> None:
    """Print one line."""
    sys.stdout.write(printable(text) + "\n")


def write_text(text: str, *, indent: int = 0) -> None:
    """Print sentences; on a terminal, they are broken between words, and further lines begin after `indent` blanks."""
    text = printable(text)
    if sys.stdout.isatty():
        import textwrap  # only a terminal needs these
        from shutil import get_terminal_size

        text = textwrap.fill(
            text,
            get_terminal_size().columns - 1,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    sys.stdout.write(text + "\n")


Shrinks: TypeAlias = Sequence[str | Sequence[str]]
"""Columns whose texts are cut if the terminal is too narrow, one after the other; those of a tuple share the room."""


def write_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, shrinks: Shrinks = (), nothing: str | None = None
) -> None:
    """Print a table with headings: drawn on a terminal, elsewhere one tab-separated line for each row.

    On a terminal, a column is left out if all its cells are empty.

    Args:
        headings: The columns.
        rows: A text for each column.
        shrinks: Columns whose texts are cut, in this order, if the terminal is too narrow. Without any, texts are
            continued on the next line.
        nothing: What a terminal shows in place of the headings if there are no rows.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    if not rows and nothing is not None and sys.stdout.isatty():
        write_line(nothing)
        return
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(row) + "\n" for row in (headings, *rows))
        return
    from rich.console import Console  # only a terminal needs it

    console = Console()
    console.print(drawn_table(headings, rows, width=console.width, shrinks=shrinks))


def drawn_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, width: int, shrinks: Shrinks = ()
) -> "Table":
    """Return the table as Rich draws it, for a terminal with this many columns; see `write_table`."""
    from rich.cells import cell_len  # only a terminal needs these
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    filled = [number for number in range(len(headings)) if not rows or any(row[number] for row in rows)]
    headings, rows = [headings[number] for number in filled], [[row[number] for number in filled] for row in rows]
    table = Table(*headings, box=None, pad_edge=False, header_style="bold")
    natural = {
        heading: max(cell_len(text) for text in (heading, *(row[number] for row in rows)))
        for number, heading in enumerate(headings)
    }
    is_wide = sum(natural.values()) + _GAP * (len(headings) - 1) > width
    table.collapse_padding = is_wide and bool(shrinks)  # then there is one space between two cells
    widths = shrunk(natural, shrinks, width - (1 if table.collapse_padding else _GAP) * (len(headings) - 1))
    for number, (heading, column) in enumerate(zip(headings, table.columns, strict=True)):
        if shrinks:
            column.overflow, column.no_wrap, column.width = "ellipsis", True, widths[heading]
        else:
            column.overflow = "fold"
            if width >= _USUAL_WIDTH and any(_MOMENT.fullmatch(row[number]) for row in rows):
                column.min_width = max(len(row[number]) for row in rows)  # not wrapped, so that it can be copied
        if rows and all(_NUMBER.fullmatch(row[number]) for row in rows):
            column.justify = "right"
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def shrunk(natural: Mapping[str, int], shrinks: Shrinks, room: int) -> dict[str, int]:
    """Return the widths of columns, of which those named are made smaller, in this order, until all fit into the room.

    Of those that share it, the widest becomes smaller. None becomes narrower than its heading, or than `_NARROWEST`.
    """
    widths = dict(natural)
    for each in shrinks:
        group = [heading for heading in ((each,) if isinstance(each, str) else each) if heading in widths]
        while sum(widths.values()) > room:
            able = [heading for heading in group if widths[heading] > max(len(heading), _NARROWEST)]
            if not able:
                break
            widths[max(able, key=widths.__getitem__)] -= 1
    return widths


def write_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print each field on a line, the name first. A text of several lines is indented below its name."""
    for name, text in fields:
        shown = printable(name)
        lines = [printable(line) for line in text.splitlines()]
        if len(lines) > 1:
            sys.stdout.write(f"{shown}\n" + "".join(f"    {line}\n" for line in lines))
        else:
            sys.stdout.write(f"{shown}  {''.join(lines)}\n")


def as_json(record: "JobRecord") -> dict[str, Any]:
    """Return a job for `write_json`: all its fields, with its data, metadata and result as nested JSON."""
    from msgspec.structs import asdict  # not needed for --help

    metadata, result = record.metadata, record.result
    return asdict(record) | {
        "data": _embedded(record.data),
        "metadata": None if metadata is None else _embedded(metadata),
        "result": None if result is None else _embedded(result),
    }


def counted_jobs(number: int) -> str:
    """Return a number of jobs as text: `1 job`, `1,234 jobs`."""
    return "1 job" if number == 1 else f"{number:,} jobs"


def short(text: str) -> str:
    """Return the text for a cell of a table, cut after `_CELL` characters."""
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def _encodable(value: Any) -> Any:
    """Return a value of dicts, lists and texts with lone surrogates escaped, which JSON cannot hold."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(each) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_encodable(each) for each in cast("Sequence[Any]", value)]
    return value


def _embedded(text: str) -> object:
    """Return stored JSON for embedding as it is; if it is not JSON, as in a damaged row, the text itself."""
    import msgspec  # not needed for --help

    try:
        msgspec.json.decode(text, type=msgspec.Raw)
        return msgspec.Raw(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return printable(text)
