"""Connections of applications that stand behind something, or that cannot be used: accepted, or refused with advice."""

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from psycopg_pool import ConnectionPool
from sqlalchemy import Engine, ForeignKey, create_engine, event, make_url, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker

from rexecutor import (
    Backend,
    BackendError,
    ConfigurationError,
    Executor,
    Job,
    JobBuilder,
    PostgresBackend,
    SQLiteBackend,
)
from rexecutor.model.where import Everything
from tests.backend.proxies import LocalProxy, Proxy, made_of
from tests.model.records import executing
from tests.postgres import Migrated, postgres_backend, server_url


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None: ...


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders_of_others"
    id: Mapped[int] = mapped_column(primary_key=True)
    before: Mapped[int | None] = mapped_column(ForeignKey("orders_of_others.id"))


@pytest.fixture
async def postgres(tmp_path: Path) -> AsyncIterator[Migrated]:
    async with postgres_backend(tmp_path) as made:
        yield made


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(tmp_path / "jobs.db") as made:
        yield made


@contextmanager
def engine_on(url: Any, **settings: Any) -> Generator[Engine]:
    engine = create_engine(url, **settings)
    try:
        yield engine
    finally:
        engine.dispose()


def on_psycopg() -> Any:
    return make_url(server_url()).set(drivername="postgresql+psycopg")


def on_file(backend: SQLiteBackend) -> str:
    return f"sqlite:///{backend.path}"


@asynccontextmanager
async def async_session(**settings: Any) -> AsyncGenerator[AsyncSession]:
    engine = create_async_engine(on_psycopg())
    if "binds" in settings:
        settings["binds"] = {Order: engine}
    async with AsyncSession(None if "binds" in settings else engine, **settings) as session:
        yield session
    await engine.dispose()


def with_foreign_keys(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")


def letter(data: str = "a") -> JobBuilder[str, None]:
    return Letter.builder().with_data(data)


async def stored(backend: Backend) -> list[str]:
    return [record.data for record in await backend.query(Everything())]


class TestBehindAProxy:
    def test_the_proxies_of_the_tests_tell_what_they_are_by_their_type_only(self) -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            proxy: Any = Proxy(connection)
            assert type(proxy) is Proxy
            assert isinstance(proxy, sqlite3.Connection)

    async def test_the_connection_to_sqlite_is_used(self, sqlite: SQLiteBackend) -> None:
        with closing(sqlite3.connect(sqlite.path)) as connection:
            letter().enqueue_sync(backend=sqlite.bound_to(cast("Any", Proxy(Proxy(connection)))))
            assert await stored(sqlite) == []
            connection.commit()

        assert await stored(sqlite) == ['"a"']

    async def test_the_current_object_of_a_local_is_used(self, sqlite: SQLiteBackend) -> None:
        with closing(sqlite3.connect(sqlite.path)) as connection:
            letter().enqueue_sync(backend=sqlite.bound_to(cast("Any", LocalProxy(lambda: connection))))
            connection.commit()

        assert await stored(sqlite) == ['"a"']

    async def test_the_driver_of_sqlalchemy_may_be_in_one(self, sqlite: SQLiteBackend) -> None:
        def connect() -> Any:
            return Proxy(sqlite3.connect(sqlite.path, check_same_thread=False))

        with engine_on("sqlite://", creator=connect) as engine, Session(engine) as session:
            letter().enqueue_sync(backend=sqlite.bound_to(session))
            session.commit()

        assert await stored(sqlite) == ['"a"']


class TestSqliteThroughSqlalchemy:
    @pytest.fixture(params=["Session", "scoped_session", "Connection"])
    def unit(self, request: pytest.FixtureRequest, sqlite: SQLiteBackend) -> Generator[Any]:
        """What an application commits or rolls back."""
        with engine_on(on_file(sqlite)) as engine:
            makes: dict[str, Callable[[], Any]] = {
                "Session": lambda: Session(engine),
                "scoped_session": scoped_session(sessionmaker(engine)),
                "Connection": engine.connect,
            }
            with makes[request.param]() as made:
                yield made

    async def test_what_is_committed_is_there(self, sqlite: SQLiteBackend, unit: Any) -> None:
        bound = sqlite.bound_to(unit)
        unit.execute(text("CREATE TABLE orders (id)"))
        letter().enqueue_sync(backend=bound)
        await letter("b").enqueue(backend=bound)
        assert await stored(sqlite) == []

        unit.commit()

        assert await stored(sqlite) == ['"a"', '"b"']

    async def test_it_begins_the_transaction_that_is_committed(self, sqlite: SQLiteBackend, unit: Any) -> None:
        letter().enqueue_sync(backend=sqlite.bound_to(unit))
        assert unit.in_transaction()
        assert await stored(sqlite) == []

        unit.commit()

        assert await stored(sqlite) == ['"a"']

    async def test_what_is_rolled_back_never_was(self, sqlite: SQLiteBackend, unit: Any) -> None:
        bound = sqlite.bound_to(unit)
        letter().enqueue_sync(backend=bound)
        unit.rollback()
        assert await stored(sqlite) == []

        letter("again").enqueue_sync(backend=bound)  # in the transaction that comes after
        unit.commit()

        assert await stored(sqlite) == ['"again"']

    async def test_what_is_left_without_a_commit_never_was(self, sqlite: SQLiteBackend) -> None:
        with engine_on(on_file(sqlite)) as engine, Session(engine) as session:
            letter().enqueue_sync(backend=sqlite.bound_to(session))

        assert await stored(sqlite) == []

    async def test_autocommit_commits_the_enqueue(self, sqlite: SQLiteBackend) -> None:
        with engine_on(on_file(sqlite), isolation_level="AUTOCOMMIT") as engine, engine.connect() as connection:
            letter().enqueue_sync(backend=sqlite.bound_to(connection))

            assert await stored(sqlite) == ['"a"']

    async def test_another_file_is_refused_when_it_is_used(self, sqlite: SQLiteBackend, tmp_path: Path) -> None:
        with engine_on(f"sqlite:///{tmp_path / 'other.db'}") as engine, Session(engine) as session:
            bound = sqlite.bound_to(session)
            with pytest.raises(ConfigurationError, match=r"bound_to: the connection is to .*other\.db, not to"):
                letter().enqueue_sync(backend=bound)

    async def test_a_session_on_another_kind_of_database_is_refused(self, sqlite: SQLiteBackend) -> None:
        refused = pytest.raises(ConfigurationError, match=r"psycopg\.Connection cannot be used .* give a sqlite3\.Conn")
        with engine_on(on_psycopg()) as engine, Session(engine) as session, refused:
            letter().enqueue_sync(backend=sqlite.bound_to(session))

    async def test_a_database_that_cannot_be_reached_is_a_failure_of_the_store(
        self, sqlite: SQLiteBackend, tmp_path: Path
    ) -> None:
        failed = pytest.raises(BackendError, match=r"bound_to: SQLAlchemy: .*unable to open database file")
        with engine_on(f"sqlite:///{tmp_path / 'none' / 'jobs.db'}") as engine, Session(engine) as session, failed:
            letter().enqueue_sync(backend=sqlite.bound_to(session))


class TestSessionsThatCannotSayTheirConnection:
    """SQLAlchemy refuses before anything is sent: no job is stored, and that is certain."""

    @pytest.mark.parametrize("settings", [{}, {"binds": True}], ids=["no-engine", "binds"])
    async def test_without_one_engine(self, postgres: Migrated, settings: Any) -> None:
        with engine_on(on_psycopg()) as engine:
            if settings:
                settings = {"binds": {Order: engine}}
            with Session(**settings) as session, self.refused(r"the session has several engines .*bind_arguments"):
                letter().enqueue_sync(backend=postgres.bound_to(session))

    async def test_the_advice_for_several_engines_works(self, postgres: Migrated) -> None:
        with engine_on(on_psycopg()) as engine, Session(binds={Order: engine}) as session:
            connection = session.connection(bind_arguments={"mapper": Order})
            letter().enqueue_sync(backend=postgres.bound_to(connection))
            assert await stored(postgres) == []
            session.commit()

        assert await stored(postgres) == ['"a"']

    async def test_the_advice_for_several_engines_works_with_a_loop(self, postgres: Migrated) -> None:
        async with async_session(binds=True) as session:
            with self.refused(r"the session has several engines .*bind_arguments"):
                await letter().enqueue(backend=postgres.bound_to(session))
            connection = await session.connection(bind_arguments={"mapper": Order})
            await letter().enqueue(backend=postgres.bound_to(connection))
            assert await stored(postgres) == []
            await session.commit()

        assert await stored(postgres) == ['"a"']

    async def test_before_it_has_begun(self, postgres: Migrated) -> None:
        with engine_on(on_psycopg()) as engine, Session(engine, autobegin=False) as session:
            with self.refused(r"Autobegin is disabled on this Session; please call session\.begin\(\)"):
                letter().enqueue_sync(backend=postgres.bound_to(session))
            with session.begin():
                letter().enqueue_sync(backend=postgres.bound_to(session))
        async with async_session(autobegin=False) as awaited:
            with self.refused(r"Autobegin is disabled on this Session; please call session\.begin\(\)"):
                await letter().enqueue(backend=postgres.bound_to(awaited))

        assert await stored(postgres) == ['"a"']

    async def test_after_a_failed_flush(self, sqlite: SQLiteBackend) -> None:
        with engine_on(on_file(sqlite)) as engine, Session(engine) as session:
            event.listen(engine, "connect", with_foreign_keys)
            Base.metadata.create_all(engine)
            session.add(Order(id=1, before=7))
            with pytest.raises(IntegrityError):
                session.flush()
            with self.refused(r"its transaction has failed; call its `rollback\(\)`, and begin again"):
                letter().enqueue_sync(backend=sqlite.bound_to(session))

            session.rollback()
            letter().enqueue_sync(backend=sqlite.bound_to(session))
            session.commit()

        assert await stored(sqlite) == ['"a"']

    async def test_nor_can_a_job_be_completed_in_it(self, postgres: Migrated, sqlite: SQLiteBackend) -> None:
        with Session() as session, self.refused("the session has several engines", "complete_in_sync"):
            postgres.completion().complete_sync(executing(), session)
        with Session() as session, self.refused("the session has several engines", "complete_in_sync"):
            sqlite.completion().complete_sync(executing(), session)
        async with async_session(autobegin=False) as awaited:
            with self.refused("Autobegin is disabled", "complete_in"):
                await postgres.completion().complete(executing(), awaited)

    async def test_an_error_of_the_applications_own_is_left_as_it_is(self, sqlite: SQLiteBackend) -> None:
        class NoTenantError(Exception): ...

        class Tenants(Session):
            def get_bind(self, *arguments: Any, **settings: Any) -> Any:
                raise NoTenantError

        with Tenants() as session, pytest.raises(NoTenantError):
            letter().enqueue_sync(backend=sqlite.bound_to(session))

    def refused(self, why: str, what: str = "bound_to") -> Any:
        return pytest.raises(ConfigurationError, match=f"^{what}: SQLAlchemy: {why}.*; nothing was sent$")


class TestAdvice:
    POSTGRES = PostgresBackend("postgresql://nobody@nowhere/none")

    @pytest.fixture(params=["postgres", "sqlite"])
    def bound_to(self, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Any]:
        backends: dict[str, Any] = {"postgres": self.POSTGRES, "sqlite": SQLiteBackend(tmp_path / "jobs.db")}
        return backends[request.param].bound_to

    @pytest.mark.parametrize("name", ["django.db.utils.ConnectionHandler", "django.db.backends.utils.CursorWrapper"])
    def test_of_django_one_connection_is_asked_for(self, bound_to: Any, name: str) -> None:
        advice = r"give `django\.db\.connection` or `django\.db\.connections\[\"alias\"\]`"
        with pytest.raises(ConfigurationError, match=f"{name} cannot be used .*; {advice}$"):
            bound_to(made_of(name))

    def test_none_may_come_of_a_django_connection_without_a_query_yet(self, bound_to: Any) -> None:
        advice = r"of Django, give `django\.db\.connection` itself, whose own `connection` is None at first"
        with pytest.raises(ConfigurationError, match=f"None cannot be used as .*; give .*; {advice}$"):
            bound_to(None)

    @pytest.mark.parametrize(
        "name",
        [
            "sqlalchemy.engine.base.Engine",
            "sqlalchemy.ext.asyncio.session.async_sessionmaker",
            "psycopg_pool.base.BasePool",
            "asyncpg.pool.Pool",
        ],
    )
    def test_of_what_makes_connections_one_is_asked_for(self, bound_to: Any, name: str) -> None:
        with pytest.raises(ConfigurationError, match=r"; give a connection or a session that it has made$"):
            bound_to(made_of(name))

    def test_the_names_are_those_of_the_libraries(self) -> None:
        pool = ConnectionPool("postgresql://nobody@nowhere/none", open=False)
        engine = create_async_engine("postgresql+psycopg://nobody@nowhere/none")
        given = [pool, engine, engine.sync_engine, sessionmaker(), async_sessionmaker()]

        for one in given:
            with pytest.raises(ConfigurationError, match=r"; give a connection or a session that it has made$"):
                self.POSTGRES.bound_to(cast("Any", one))

    async def test_sqlalchemys_connection_of_the_pool_names_driver_connection(self, sqlite: SQLiteBackend) -> None:
        with engine_on(on_file(sqlite)) as engine, closing(engine.raw_connection()) as raw:
            with pytest.raises(ConfigurationError, match=r"_ConnectionFairy .*, or its `driver_connection`$"):
                sqlite.bound_to(cast("Any", raw))
            letter().enqueue_sync(backend=sqlite.bound_to(cast("Any", raw.driver_connection)))
            raw.commit()

        assert await stored(sqlite) == ['"a"']

    async def test_sqlite_with_a_loop_is_refused(self, sqlite: SQLiteBackend) -> None:
        aiosqlite = made_of("aiosqlite.core.Connection")
        async with async_session() as session:
            for given in (aiosqlite, session):
                with pytest.raises(
                    ConfigurationError,
                    match=r"give a sqlite3.Connection, .*; with aiosqlite, enqueue after the commit, without conn",
                ):
                    sqlite.bound_to(cast("Any", given))

    async def test_a_synchronous_session_of_an_async_one_is_told_to_give_that_one(self, postgres: Migrated) -> None:
        def work(session: Session) -> None:
            letter().enqueue_sync(backend=postgres.bound_to(session))

        async with async_session() as session:
            with pytest.raises(
                ConfigurationError, match="give the AsyncSession or AsyncConnection, and await the call"
            ):
                await session.run_sync(work)

    def test_an_object_that_has_every_attribute_is_no_connection(self, bound_to: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"mock\.Anything cannot be used"):
            bound_to(made_of("mock.Anything"))
