"""Texts that would do harm wherever one is taken for SQL, and what counts the statements that a driver is given."""

import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

import psycopg
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from rexecutor.backend.sqlite.forks import TrackedConnection
from tests.faults.connections import connecting_as

PAYLOADS: Final = (
    "benign",
    "'",
    '"',
    "''",
    "\\'",
    "`",
    ";",
    "--",
    "/*",
    "*/",
    "' OR '1'='1",
    '" OR "1"="1',
    "') OR ('1'='1",
    "1; DROP TABLE canary",
    "'; DROP TABLE canary; --",
    "'); DROP TABLE canary; --",
    '"; DROP TABLE canary; --',
    "']; DROP TABLE canary; --",
    "}'; DROP TABLE canary; --",
    "$$; DROP TABLE canary; $$",
    "$tag$; DROP TABLE canary; $tag$",
    "\\'; DROP TABLE canary; --",
    "\\\\'; DROP TABLE canary; --",
    "\u02bc; DROP TABLE canary; --",
    "\uff07; DROP TABLE canary; --",
    "' UNION SELECT secret FROM canary --",
    "' UNION ALL SELECT NULL, NULL, secret FROM canary --",
    "'||(SELECT secret FROM canary)||'",
    "x' AND pg_sleep(9) IS NULL --",
    "1 AND randomblob(1000000000)",
    "'; ATTACH DATABASE '/tmp/x' AS x; --",
    "'; PRAGMA writable_schema=1; --",
    "'; COPY canary TO PROGRAM 'id'; --",
    "%s",
    "%(name)s",
    "%",
    "%%",
    "%'",
    "%(now)s::text; DROP TABLE canary; --",
    "?",
    "?1",
    ":now",
    ":name",
    "@name",
    "$1",
    "{0}",
    "{jobs}",
    "{name!r}",
    "/* where */",
    "/* index */",
    '"rexecutor".',
    "{'; DROP TABLE canary; --}",
    '{a,"b\'c"}',
    "[]",
    '{"a": "\'; DROP TABLE canary; --"}',
    "null",
    "NULL",
    "\n; DROP TABLE canary;\n--",
    "\r\n\t",
    "E'\\''; DROP TABLE canary",
    "U&'\\0027'; DROP TABLE canary",
    "\x1a'\x08",
    "x" * 1_000,
    "'" * 127,
    "a\0'; DROP TABLE canary; --",
    "a\ud800'; DROP TABLE canary; --",
)


def hostile_texts(number: int, begin: int) -> list[str]:
    """Return so many texts, made by Hypothesis."""
    texts: list[str] = []

    @seed(begin)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    @given(st.text(max_size=200) | st.text("'\"\\;-%$:?{}()/*\0 \n", max_size=30))
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    return texts


@contextmanager
def statements_given() -> Generator[set[str]]:
    """Yield the set of all texts that the drivers execute. It grows while they do."""
    texts: set[str] = set()

    class Recording(TrackedConnection):
        """Keeps what it executes."""

        def execute(self, sql: str, /, *arguments: Any) -> sqlite3.Cursor:
            texts.add(sql)
            return super().execute(sql, *arguments)

    run = psycopg.Cursor[Any].execute
    run_async = psycopg.AsyncCursor[Any].execute

    def run_recording(cursor: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        texts.add(str(query))
        return run(cursor, query, *arguments, **named)

    async def run_async_recording(cursor: Any, query: Any, *arguments: Any, **named: Any) -> Any:
        texts.add(str(query))
        return await run_async(cursor, query, *arguments, **named)

    with ExitStack() as patches:
        patches.enter_context(connecting_as(Recording))
        patches.enter_context(patch.object(psycopg.Cursor, "execute", run_recording))
        patches.enter_context(patch.object(psycopg.AsyncCursor, "execute", run_async_recording))
        yield texts
