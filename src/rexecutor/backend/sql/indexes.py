"""Which tables and indexes a store's migrations create, so that a diagnosis can name those that are missing."""

import re
from collections.abc import Collection, Mapping
from typing import Final

from rexecutor.backend.sql import migrations

_INDEX: Final = re.compile(r"^CREATE (?:UNIQUE )?INDEX (\w+) ON [^;]+;", re.MULTILINE)
_DROPPED: Final = re.compile(r"^DROP INDEX (?:\"rexecutor\"\.)?(\w+)", re.MULTILINE)
_TABLE: Final = re.compile(r"^CREATE (?:TABLE|VIEW) (?:\"rexecutor\"\.)?(\w+)", re.MULTILINE)
_DROPPED_TABLE: Final = re.compile(r"^DROP (?:TABLE|VIEW) (?:\"rexecutor\"\.)?(\w+)", re.MULTILINE)


def tables_of(package: str) -> Collection[str]:
    """Return the names of the tables and views, as the migrations of a backend create them."""
    found: dict[str, None] = {}
    for _, text in migrations(package):
        for match in _DROPPED_TABLE.finditer(text):
            found.pop(match[1], None)
        found |= dict.fromkeys(match[1] for match in _TABLE.finditer(text))
    return list(found)


def indexes_of(package: str) -> Mapping[str, str]:
    """Return the statement that creates each index, by the index's name, as the migrations of a backend have it."""
    found: dict[str, str] = {}
    for _, text in migrations(package):
        found |= {match[1]: " ".join(match[0].split()).rstrip(";") for match in _INDEX.finditer(text)}
        for match in _DROPPED.finditer(text):
            found.pop(match[1], None)
    return found
