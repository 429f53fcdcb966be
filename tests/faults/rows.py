"""Statements of one's own on a store's tables, each committed by itself."""

import sqlite3
from contextlib import closing
from typing import Any, LiteralString, cast

import psycopg


def rows_of(store: str, text: str) -> list[tuple[Any, ...]]:
    """Execute the text and return its rows, if any. `{}` stands before the name of each table of the store."""
    url, _, schema = store.partition("#")
    if schema:
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(cast("LiteralString", text.replace("{}", f'"{schema}".')))
            return cursor.fetchall() if cursor.description else []
    with closing(sqlite3.connect(store, isolation_level=None, timeout=20)) as file:
        return file.execute(text.replace("{}", "rexecutor_")).fetchall()
