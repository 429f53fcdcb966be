"""In each web framework, on each kind of connection: a job is stored if the request's transaction is committed.

The same small shop in all of them: an order is stored, and its job enqueued in the same transaction.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from fastapi import Depends, FastAPI
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from litestar import Litestar, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rexecutor import Backend, JobStatus, Rexecutor, SQLiteBackend, Where, job
from rexecutor.backend import Transaction
from tests.frameworks.clients import client_of
from tests.postgres import Migrated, schema_of, server_url

Orders: TypeAlias = Callable[[str], object]
"""Sends an order, which ends its transaction in the way of that name."""

WAYS: Final = ("commit", "rollback", "savepoint", "error", "commit again")
ORDERS: Final = {"commit", "savepoint", "commit again"}
"""Whose order is stored."""
JOBS: Final = {"commit", "commit again"}
"""Whose job is stored too."""


@job
async def charge(order: str) -> str:
    return f"charged {order}"


class Store:
    """A database with a table of orders, and the backend whose jobs are in it too."""

    def __init__(self, kind: str, folder: Path) -> None:
        """Make it.

        Args:
            kind: `sqlite`, or the driver on PostgreSQL: `psycopg` or `asyncpg`.
            folder: The test's own.
        """
        if kind == "sqlite":
            self.url = sync_url = f"sqlite:///{folder / 'shop.db'}"
            self.backend: SQLiteBackend | Migrated = SQLiteBackend(folder / "shop.db")
        else:
            parts = urlsplit(server_url())
            self.url, sync_url = (parts._replace(scheme=f"postgresql+{one}").geturl() for one in (kind, "psycopg"))
            self.backend = Migrated(server_url(), schema=schema_of(folder))
        self.orders: Final = sa.Table(f"orders_{schema_of(folder)}", sa.MetaData(), sa.Column("item", sa.Text))
        self.engine: Final = sa.create_engine(sync_url)
        self.orders.create(self.engine)
        self.rexecutor: Final = Rexecutor(self.backend, executors=[charge])

    def found(self) -> set[str]:
        """Return the items of all orders."""
        with self.engine.connect() as connection:
            return {item for (item,) in connection.execute(sa.select(self.orders.c.item))}

    async def place(self, session: AsyncSession, jobs: Transaction, how: str) -> None:
        """Store an order and its job, and end the transaction in this way."""
        await session.execute(sa.insert(self.orders).values(item=how))
        if how == "savepoint":
            async with session.begin_nested() as savepoint:
                await charge.options(backend=jobs).enqueue(how)
                await savepoint.rollback()
        else:
            await charge.options(backend=jobs).enqueue(how)
        if how == "error":
            raise ZeroDivisionError
        await (session.rollback() if how == "rollback" else session.commit())

    def place_sync(self, session: Any, how: str) -> None:
        """Do what `place` does, without an event loop."""
        charging = charge.options(connection=session, backend=self.backend)
        session.execute(sa.insert(self.orders).values(item=how))
        if how == "savepoint":
            with session.begin_nested() as savepoint:
                charging.enqueue_sync(how)
                savepoint.rollback()
        else:
            charging.enqueue_sync(how)
        if how == "error":
            raise ZeroDivisionError
        if how == "rollback":
            session.rollback()
        else:
            session.commit()


@asynccontextmanager
async def opened(store: Store) -> AsyncGenerator[async_sessionmaker[AsyncSession]]:
    """Run the jobs, and give what makes sessions, as the lifespan of an application does."""
    engine = create_async_engine(store.url)
    async with store.rexecutor:
        yield async_sessionmaker(engine)
    await engine.dispose()


@contextmanager
def fastapi_async(store: Store) -> Generator[Orders]:
    made: list[async_sessionmaker[AsyncSession]] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        async with opened(store) as sessions:
            made.append(sessions)
            yield

    async def session() -> AsyncGenerator[AsyncSession]:
        async with made[0]() as one:
            yield one

    def jobs(session: Annotated[AsyncSession, Depends(session)]) -> Transaction:
        backend: Any = store.backend
        bound: Transaction = backend.bound_to(session)
        return bound

    app = FastAPI(lifespan=lifespan)

    @app.post("/{how}")
    async def order(
        how: str, session: Annotated[AsyncSession, Depends(session)], jobs: Annotated[Transaction, Depends(jobs)]
    ) -> None:
        await store.place(session, jobs, how)

    with client_of(app) as client:
        yield lambda how: client.post(f"/{how}")


@contextmanager
def fastapi_sync(store: Store) -> Generator[Orders]:
    sessions = sessionmaker(store.engine)

    def session() -> Generator[Session]:
        with sessions() as one:
            yield one

    app = FastAPI(lifespan=store.rexecutor.lifespan)

    @app.post("/{how}")
    def order(how: str, session: Annotated[Session, Depends(session)]) -> None:
        store.place_sync(session, how)

    with client_of(app) as client:
        yield lambda how: client.post(f"/{how}")


@contextmanager
def starlette_async(store: Store) -> Generator[Orders]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[dict[str, Any]]:
        async with opened(store) as sessions:
            yield {"sessions": sessions}

    async def order(request: Request) -> Response:
        backend: Any = store.backend
        async with request.state.sessions() as session:
            await store.place(session, backend.bound_to(session), request.path_params["how"])
        return Response()

    app = Starlette(lifespan=lifespan, routes=[Route("/{how}", order, methods=["POST"])])
    with client_of(app) as client:
        yield lambda how: client.post(f"/{how}")


@contextmanager
def starlette_sync(store: Store) -> Generator[Orders]:
    sessions = sessionmaker(store.engine)

    def order(request: Request) -> Response:
        with sessions() as session:
            store.place_sync(session, request.path_params["how"])
        return Response()

    routes = [Route("/{how}", order, methods=["POST"])]
    with client_of(Starlette(lifespan=store.rexecutor.lifespan, routes=routes)) as client:
        yield lambda how: client.post(f"/{how}")


@contextmanager
def litestar_async(store: Store) -> Generator[Orders]:
    made: list[async_sessionmaker[AsyncSession]] = []

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        async with opened(store) as sessions:
            made.append(sessions)
            yield

    async def session() -> AsyncGenerator[AsyncSession]:
        async with made[0]() as one:
            yield one

    @post("/{how:str}", dependencies={"session": Provide(session)})
    async def order(how: FromPath[str], session: NamedDependency[AsyncSession]) -> None:
        backend: Any = store.backend
        await store.place(session, backend.bound_to(session), how)

    with client_of(Litestar([order], lifespan=[lifespan])) as client:
        yield lambda how: client.post(f"/{how}")


@contextmanager
def litestar_sync(store: Store) -> Generator[Orders]:
    sessions = sessionmaker(store.engine)

    @post("/{how:str}", sync_to_thread=True)
    def order(how: FromPath[str]) -> None:
        with sessions() as session:
            store.place_sync(session, how)

    app = Litestar([order], lifespan=[store.rexecutor.lifespan])
    with client_of(app) as client:
        yield lambda how: client.post(f"/{how}")


@contextmanager
def flask(store: Store) -> Generator[Orders]:
    """Serve it with Flask and Flask-SQLAlchemy. The worker is another process: here another event loop, after all."""
    db, app = SQLAlchemy(), Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = store.url
    db.init_app(app)

    def order(how: str) -> str:
        store.place_sync(db.session, how)
        return "ordered"

    app.add_url_rule("/<how>", view_func=order, methods=["POST"])
    asyncio.run(made_ready(store.backend))
    client = app.test_client()
    yield lambda how: client.post(f"/{how}")
    with app.app_context():
        db.engine.dispose()


async def made_ready(backend: Backend) -> None:
    """Make the tables of the store."""
    async with backend:
        pass


PAIRINGS: Final[Mapping[tuple[str, str], Callable[[Store], AbstractContextManager[Orders]]]] = {
    ("fastapi", "psycopg"): fastapi_async,
    ("fastapi", "asyncpg"): fastapi_async,
    ("fastapi", "sqlite"): fastapi_sync,
    ("starlette", "psycopg"): starlette_async,
    ("starlette", "asyncpg"): starlette_async,
    ("starlette", "sqlite"): starlette_sync,
    ("litestar", "psycopg"): litestar_async,
    ("litestar", "asyncpg"): litestar_async,
    ("litestar", "sqlite"): litestar_sync,
    ("flask", "psycopg"): flask,
    ("flask", "sqlite"): flask,
}


@pytest.mark.parametrize(("framework", "kind"), PAIRINGS)
def test_a_job_is_stored_if_and_only_if_its_transaction_is_committed(framework: str, kind: str, tmp_path: Path) -> None:
    store = Store(kind, tmp_path)

    with PAIRINGS[framework, kind](store) as order:
        for how in WAYS:
            order(how)

    assert store.found() == ORDERS
    assert asyncio.run(results_of(store)) == {f"charged {how}" for how in JOBS}
    store.orders.drop(store.engine)
    store.engine.dispose()


async def results_of(store: Store) -> set[str]:
    """Run what has not been run, and return the results of all jobs."""
    async with store.rexecutor:
        jobs = await charge.query_jobs(~Where.status_equals(JobStatus.CANCELLED), backend=store.backend)
        return {await charge.handle(one.id, backend=store.backend).result() for one in jobs}
