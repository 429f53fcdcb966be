"""Which indexes a store's migrations create, so that a look at a store can name those that somebody has dropped."""

import re
from collections.abc import Mapping
from typing import Final

from rexecutor.backend.sql import migrations

_INDEX: Final = re.compile(r"^CREATE (?:UNIQUE )?INDEX (\w+) ON [^;]+;", re.MULTILINE)
_DROPPED: Final = re.compile(r"^DROP INDEX (?:\"rexecutor\"\.)?(\w+)", re.MULTILINE)


def indexes_of(package: str) -> Mapping[str, str]:
    """Return the statement that creates each index, by the index's name, as the migrations of a backend have it."""
    found: dict[str, str] = {}
    for _, text in migrations(package):
        found |= {match[1]: " ".join(match[0].split()).rstrip(";") for match in _INDEX.finditer(text)}
        for match in _DROPPED.finditer(text):
            found.pop(match[1], None)
    return found
