"""Enqueues in a transaction of the application's own, on its connection to the SQLite file."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rexecutor import (
    BackendError,
    ConfigurationError,
    Executor,
    Job,
    JobBuilder,
    Replace,
    Rexecutor,
    SchemaError,
    SQLiteBackend,
    UniquenessCriteria,
    enqueue_many,
    enqueue_many_sync,
)
from rexecutor.model.where import Everything
from rexecutor.testing import assert_enqueued, assert_enqueued_sync, refute_enqueued, refute_enqueued_sync
from tests.support import soon

KINDS: dict[str, dict[str, Any]] = {
    "legacy": {},
    "immediate": {"isolation_level": "IMMEDIATE"},
    "by-hand": {"isolation_level": None},
    "converting": {"detect_types": sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES},
}
if sys.version_info >= (3, 12):
    KINDS["always"] = {"autocommit": False}
    KINDS["autocommit"] = {"autocommit": True}


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None: ...


class Once(Executor[str]):
    name = "once"
    uniqueness_criteria = UniquenessCriteria.by_executor().on_conflict(Replace.data())

    async def execute(self, job: Job[str]) -> None: ...


class Keyed(Executor[str]):
    name = "keyed"
    uniqueness_criteria = UniquenessCriteria.by_key("k").and_executor()

    async def execute(self, job: Job[str]) -> None: ...


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(tmp_path / "jobs.db") as made:
        yield made


@pytest.fixture
def converters() -> Iterator[None]:
    """An application that converts all that it reads by the declared types."""
    kinds = ("TEXT", "INTEGER", "ANY")
    for kind in kinds:
        sqlite3.register_converter(kind, lambda raw: ("converted", raw))
    yield
    for kind in kinds:
        del sqlite3.converters[kind]


@pytest.fixture(params=KINDS)
def connection(
    request: pytest.FixtureRequest, backend: SQLiteBackend, converters: None
) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(backend.path, timeout=0, **KINDS[request.param])) as made:
        made.row_factory = lambda _, row: {"row": row}
        made.text_factory = bytes
        yield made


def begin(connection: sqlite3.Connection) -> None:
    """Begin as the connection's application would."""
    if connection.isolation_level is None or getattr(connection, "autocommit", None) is True:
        connection.execute("BEGIN")


def end(connection: sqlite3.Connection, how: str) -> None:
    connection.execute(how) if connection.in_transaction else None


async def stored(backend: SQLiteBackend) -> list[tuple[str, str]]:
    return [(record.executor, record.data) for record in await backend.query(Everything())]


def letter(data: str) -> JobBuilder[str, None]:
    return Letter.builder().with_data(data)


async def test_what_is_committed_is_there(backend: SQLiteBackend, connection: sqlite3.Connection) -> None:
    begin(connection)
    handle = letter("a").enqueue_sync(backend=backend.bound_to(connection))
    assert await stored(backend) == []

    end(connection, "COMMIT")

    assert (await handle.fetch()).data == "a"
    assert connection.text_factory is bytes
    assert connection.execute("SELECT 'a'").fetchone() == {"row": (b"a",)}


async def test_what_is_rolled_back_never_was(backend: SQLiteBackend, connection: sqlite3.Connection) -> None:
    begin(connection)
    connection.execute("CREATE TABLE orders (id)")
    await enqueue_many([letter("a"), Once.builder().with_data("b")], backend=backend.bound_to(connection))

    end(connection, "ROLLBACK")

    assert await stored(backend) == []


async def test_several_and_unique_ones(backend: SQLiteBackend, connection: sqlite3.Connection) -> None:
    before = await Once.builder().with_data("before").enqueue(backend=backend)

    begin(connection)
    builders = [Once.builder().with_data("after"), *(Keyed.builder().with_data(data) for data in "12"), letter("a")]
    once, first, second, last = enqueue_many_sync(builders, backend=backend.bound_to(connection))
    end(connection, "COMMIT")

    assert (once.id, once.disposition) == (before.id, "replaced")
    assert (first.disposition, second.disposition, second.id) == ("inserted", "existing", first.id)
    assert before.id < first.id < last.id
    assert await stored(backend) == [("once", '"after"'), ("keyed", '"1"'), ("letter", '"a"')]


async def test_a_test_sees_what_the_transaction_has_enqueued(
    backend: SQLiteBackend, connection: sqlite3.Connection
) -> None:
    bound = backend.bound_to(connection)
    begin(connection)
    letter("a").with_tags("mail").enqueue_sync(backend=bound)

    [job] = await assert_enqueued(1, for_executor=Letter, with_data="a", tagged_with=["mail"], backend=bound)
    assert assert_enqueued_sync(1, for_executor=Letter, with_data="a", backend=bound) == [job]
    await refute_enqueued(backend=backend)
    assert connection.execute("SELECT 'a'").fetchone() == {"row": (b"a",)}

    end(connection, "ROLLBACK")

    refute_enqueued_sync(backend=bound)
    await refute_enqueued(backend=bound)
    end(connection, "ROLLBACK")


async def test_a_look_takes_no_lock_and_begins_nothing(backend: SQLiteBackend) -> None:
    with (
        closing(sqlite3.connect(backend.path, timeout=0)) as connection,
        closing(sqlite3.connect(backend.path)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")

        refute_enqueued_sync(backend=backend.bound_to(connection))

        assert not connection.in_transaction
        other.rollback()


@pytest.mark.parametrize("settings", [{}, {"isolation_level": "IMMEDIATE"}])
async def test_it_begins_the_transaction_where_an_insert_would(
    backend: SQLiteBackend, settings: dict[str, Any]
) -> None:
    with closing(sqlite3.connect(backend.path, **settings)) as connection:
        letter("a").enqueue_sync(backend=backend.bound_to(connection))
        assert connection.in_transaction
        assert await stored(backend) == []

        connection.commit()

    assert await stored(backend) == [("letter", '"a"')]


async def test_a_connection_that_commits_each_statement_commits_the_enqueue(backend: SQLiteBackend) -> None:
    with closing(sqlite3.connect(backend.path, isolation_level=None)) as connection:
        enqueue_many_sync([letter("a"), Once.builder().with_data("b")], backend=backend.bound_to(connection))

        assert not connection.in_transaction
        assert await stored(backend) == [("letter", '"a"'), ("once", '"b"')]


async def test_whoever_comes_second_waits_for_the_lock_before_it_looks(backend: SQLiteBackend) -> None:
    with (
        closing(sqlite3.connect(backend.path)) as first,
        closing(sqlite3.connect(backend.path, check_same_thread=False)) as second,
    ):
        one = Once.builder().with_data("one").enqueue_sync(backend=backend.bound_to(first))
        other = asyncio.ensure_future(
            asyncio.to_thread(Once.builder().with_data("two").enqueue_sync, backend=backend.bound_to(second))
        )
        first.commit()

        assert ((await other).id, (await other).disposition) == (one.id, "replaced")
        second.commit()

    assert await stored(backend) == [("once", '"two"')]


async def test_a_failed_enqueue_leaves_the_transaction_usable_and_nothing_of_itself(backend: SQLiteBackend) -> None:
    with closing(sqlite3.connect(backend.path)) as connection:
        connection.execute("CREATE TABLE orders (id)")
        connection.execute("INSERT INTO orders VALUES (1)")
        connection.execute(
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON rexecutor_stored_jobs WHEN NEW.data = '\"b\"'"
            " BEGIN SELECT raise(ABORT, 'refused'); END"
        )

        with pytest.raises(BackendError, match="refused"):
            enqueue_many_sync([letter("a"), letter("b")], backend=backend.bound_to(connection))
        letter("c").enqueue_sync(backend=backend.bound_to(connection))
        connection.commit()

        assert connection.execute("SELECT id FROM orders").fetchall() == [(1,)]
    assert await stored(backend) == [("letter", '"c"')]


async def test_jobs_are_enqueued_while_the_rows_of_a_query_are_read(
    backend: SQLiteBackend, connection: sqlite3.Connection
) -> None:
    begin(connection)
    bound = backend.bound_to(connection)

    rows = connection.execute("SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3")
    for _ in rows:
        enqueue_many_sync([letter("a"), Once.builder().with_data("b")], backend=bound)
    end(connection, "COMMIT")

    assert [name for name, _ in await stored(backend)] == ["letter", "once", "letter", "letter"]


async def test_a_node_starts_it_after_the_commit(backend: SQLiteBackend) -> None:
    async with Rexecutor(backend).with_executor(Letter):
        with closing(sqlite3.connect(backend.path)) as connection, connection:
            handle = letter("a").enqueue_sync(backend=backend.bound_to(connection))

        assert (await soon(handle.wait())).attempt == 1


async def test_the_file_is_busy(backend: SQLiteBackend) -> None:
    with (
        closing(sqlite3.connect(backend.path, isolation_level=None)) as holder,
        closing(sqlite3.connect(backend.path, timeout=0)) as connection,
    ):
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendError, match="locked"):
            letter("a").enqueue_sync(backend=backend.bound_to(connection))
        holder.execute("ROLLBACK")


class TestWhatIsRefused:
    @pytest.mark.parametrize("given", [None, "jobs.db", object(), sqlite3])
    def test_no_connection(self, tmp_path: Path, given: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"give a sqlite3\.Connection"):
            SQLiteBackend(tmp_path / "jobs.db").bound_to(given)

    @pytest.mark.parametrize("name", [":memory:", "other.db"])
    def test_a_connection_to_another_file(self, tmp_path: Path, name: str) -> None:
        path = name if name == ":memory:" else tmp_path / name
        with closing(sqlite3.connect(path)) as given, pytest.raises(ConfigurationError, match="not to"):
            SQLiteBackend(tmp_path / "jobs.db").bound_to(given)

    async def test_a_closed_connection(self, backend: SQLiteBackend) -> None:
        given = sqlite3.connect(backend.path)
        bound = backend.bound_to(given)
        given.close()

        with pytest.raises(BackendError, match="closed"):
            letter("a").enqueue_sync(backend=bound)
        with pytest.raises(BackendError, match="closed"):
            backend.bound_to(given)

    @pytest.mark.parametrize("isolation_level", ["", None])
    def test_a_file_without_our_tables(self, tmp_path: Path, isolation_level: Any) -> None:
        path = tmp_path / "jobs.db"
        with closing(sqlite3.connect(path, isolation_level=isolation_level)) as given:
            bound = SQLiteBackend(path).bound_to(given)

            with pytest.raises(SchemaError, match=f"rexecutor migrate --url sqlite:///{path}`, or open the backend"):
                letter("a").enqueue_sync(backend=bound)
