"""What the SQL backends share: statements in files, and `Where` compiled to SQL."""

import re
from functools import cache
from importlib import resources
from typing import Final, LiteralString, cast

_INCLUDE: Final = re.compile(r"^-- include (\w+)\n", re.MULTILINE)
_COMMENT: Final = re.compile(r"^ *--.*\n", re.MULTILINE)


@cache
def statement(package: str, name: str) -> LiteralString:
    """Return the text of the package's `sql/<name>.sql` as it is sent; the file is read once.

    A line `-- include x` is replaced by the content of `sql/x.sql`. Comments on lines of their own are removed, and the
    first line is a comment with the name. So views such as `pg_stat_activity` show which statement runs, and most texts
    have at most 4,096 characters: psycopg parses longer ones anew each time.

    Raises:
        FileNotFoundError: The package has no such statement.
    """
    text = f"-- rexecutor: {name}\n{_COMMENT.sub('', _file(package, name))}"
    return cast("LiteralString", text)  # from this package's files, never from input


def _file(package: str, name: str) -> str:
    text = resources.files(package).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda line: _file(package, line[1]), text)


@cache
def migrations(package: str) -> tuple[tuple[int, str], ...]:
    """Return number and text of each `migrations/NNNN_<name>.sql` of the package, in order; read once."""
    folder = resources.files(package).joinpath("migrations")
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return tuple((int(name[:4]), folder.joinpath(name).read_text(encoding="utf-8")) for name in files)
