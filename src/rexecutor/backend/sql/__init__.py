"""What the SQL backends share: statements in files, and `Where` compiled to SQL."""

import re
from functools import cache
from importlib import resources
from typing import Final, LiteralString, cast

_INCLUDE: Final = re.compile(r"^-- include (\w+)\n", re.MULTILINE)
_COMMENT: Final = re.compile(r"^ *--.*\n", re.MULTILINE)


@cache
def statement(package: str, name: str) -> LiteralString:
    """Return the text of the package's `sql/<name>.sql`, read once. Its line `-- include x` stands for `sql/x.sql`.

    One line with the name stands in place of its comments: who looks at a database's activity sees what the statement
    is and how it begins, and psycopg only keeps what it found out about a text of at most 4,096 characters.
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
