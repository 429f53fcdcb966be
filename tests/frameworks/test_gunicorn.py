"""Flask with Flask-SQLAlchemy, served by gunicorn with and without `--preload`, and a worker process beside it."""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from rexecutor import Backend
from tests.examples.programs import Programs, Server
from tests.postgres import postgres_backend, run_postgres, schema_of, server_url

JOBS: Final = """
import os

from rexecutor import Rexecutor, connect, job


@job(blocking=True)
def charge(item: str) -> str:
    return f"charged {item}"


backend = connect(os.environ["STORE"], schema=os.environ.get("SCHEMA"))
rexecutor = Rexecutor(backend, executors=[charge])
"""

WEB: Final = """
import asyncio
import os

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from jobs import backend, charge
from rexecutor import JobStatus, Rexecutor, Where

db = SQLAlchemy()


class Order(db.Model):
    __tablename__ = os.environ["TABLE"]

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE"]
    db.init_app(app)
    Rexecutor(backend).set_global_backend()
    if os.environ.get("BEFORE_THE_FORK") == "calls":
        charge.count_jobs_sync()
    elif os.environ.get("BEFORE_THE_FORK") == "opens":
        asyncio.new_event_loop().run_until_complete(backend.open())

    @app.post("/<item>/<how>")
    def order(item: str, how: str) -> list[object]:
        db.session.add(Order(item=item))
        handle = charge.options(connection=db.session).enqueue_sync(item)
        if how == "error":
            raise ZeroDivisionError
        db.session.commit() if how == "commit" else db.session.rollback()
        return [handle.id, os.getpid()]

    @app.post("/alone")
    def alone() -> list[object]:
        return [charge.enqueue_sync("alone").id, os.getpid()]

    @app.get("/found")
    def found() -> list[object]:
        orders = [order.item for order in db.session.scalars(db.select(Order))]
        return [sorted(orders), [job.id for job in charge.query_jobs_sync(Where.status_in(*JobStatus))]]

    @app.get("/result/<int:job_id>")
    def result(job_id: int) -> list[object]:
        return [charge.handle(job_id).result_sync()]

    return app
"""


class Site(Programs):
    """A folder with the application and its store."""

    def __init__(self, kind: str, place: Path) -> None:
        folder = place / "site"
        folder.mkdir()
        (folder / "jobs.py").write_text(JOBS)
        (folder / "web.py").write_text(WEB)
        table = f"orders_{schema_of(place)}"
        if kind == "sqlite":
            file = folder / "shop.db"
            super().__init__(folder, TABLE=table, DATABASE=f"sqlite:///{file}", STORE=f"sqlite:///{file}")
            with closing(sqlite3.connect(file)) as connection:
                connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, item TEXT)")
        else:
            database = urlsplit(server_url())._replace(scheme="postgresql+psycopg").geturl()
            super().__init__(folder, TABLE=table, DATABASE=database, STORE=server_url(), SCHEMA=schema_of(place))
            run_postgres(f"CREATE TABLE {table} (id SERIAL PRIMARY KEY, item TEXT)")
            asyncio.run(made_schema(postgres_backend(place)))

    def gunicorn(self, *options: str, **environment: str) -> Server:
        """Serve the application with two processes, which are up."""
        fixed = ("--bind", "127.0.0.1:{port}", "--workers", "2", "--no-control-socket")
        server = self.serve("-m", "gunicorn", *fixed, *options, "web:create_app()", **environment)
        self.until(lambda: server.said.count("Booting worker") > 1)
        return server


async def made_schema(backend: Backend) -> None:
    """Make the tables of the store."""
    async with backend:
        pass


def enqueue_alone(server: Server) -> tuple[int, int]:
    """Have a job enqueued without a session, and return its id and the server's process that has done it."""
    job_id, process = server.post("/alone").json()
    return job_id, process


@pytest.mark.parametrize(
    ("kind", "options"),
    [("sqlite", ()), ("sqlite", ("--preload",)), ("postgres", ("--preload",))],
    ids=["sqlite", "sqlite preload", "postgres preload"],
)
def test_what_is_committed_is_stored_and_run(kind: str, options: tuple[str, ...], tmp_path: Path) -> None:
    with Site(kind, tmp_path) as site:
        server = site.gunicorn(*options, BEFORE_THE_FORK="calls")

        job_id, _ = server.post("/tea/commit").json()
        server.post("/rum/rollback")
        assert server.post("/gin/error").status_code == 500
        alone: dict[int, int] = {}
        with ThreadPoolExecutor(4) as threads:
            while len(set(alone.values())) < 2 and len(alone) < 1_000:  # until both processes have responded
                alone.update(threads.map(enqueue_alone, [server] * 20))

        assert len(alone) % 20 == 0, "two jobs have one id"
        assert set(alone.values()) & {server.process.pid} == set()
        assert server.get("/found").json() == [["tea"], sorted({job_id, *alone})]
        site.worker("jobs:rexecutor")
        assert server.get(f"/result/{job_id}").json() == ["charged tea"]
        assert server.get(f"/result/{max(alone)}").json() == ["charged alone"]


def test_an_sqlite_store_that_the_parent_has_open_at_the_fork_is_refused_with_a_reason(tmp_path: Path) -> None:
    with Site("sqlite", tmp_path) as site:
        server = site.gunicorn("--preload", BEFORE_THE_FORK="opens")

        response = server.post("/alone")

        assert response.status_code == 500
        assert "this process was forked while its parent had" in server.said
