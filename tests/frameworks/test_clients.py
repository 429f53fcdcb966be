"""Tests of applications with the frameworks' own test clients, as the documentation shows them."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from litestar import Litestar, post
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rexecutor import InMemoryBackend, JobStatus, Rexecutor, SQLiteBackend, job
from rexecutor.testing import assert_enqueued_sync
from tests.frameworks.clients import client_of


@job
async def greet(name: str) -> str:
    return f"hello {name}"


def fastapi(rexecutor: Rexecutor) -> FastAPI:
    app = FastAPI(lifespan=rexecutor.lifespan)

    @app.post("/{name}")
    async def enqueue(name: str) -> int:
        return (await greet.enqueue(name)).id

    return app


def starlette(rexecutor: Rexecutor) -> Starlette:
    async def enqueue(request: Request) -> JSONResponse:
        return JSONResponse((await greet.enqueue(request.path_params["name"])).id)

    return Starlette(lifespan=rexecutor.lifespan, routes=[Route("/{name}", enqueue, methods=["POST"])])


def litestar(rexecutor: Rexecutor) -> Litestar:
    @post("/{name:str}")
    async def enqueue(name: FromPath[str]) -> int:
        return (await greet.enqueue(name)).id

    return Litestar([enqueue], lifespan=[rexecutor.lifespan])


APPLICATIONS = {"fastapi": fastapi, "starlette": starlette, "litestar": litestar}


@pytest.mark.parametrize("framework", APPLICATIONS)
def test_each_client_starts_a_worker_of_its_own(framework: str, tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "jobs.db")
    app = APPLICATIONS[framework](Rexecutor(backend, executors=[greet]).set_global_backend())

    for name in ("ann", "bob"):
        with client_of(app) as client:
            job_id: int = client.post(f"/{name}").json()
            assert greet.handle(job_id, backend=backend).result_sync() == f"hello {name}"

    assert not backend.is_open


@pytest.mark.parametrize("framework", ["fastapi", "starlette"])
def test_a_client_without_the_lifespan_records_what_is_enqueued(
    framework: str, rexecutor_backend: InMemoryBackend, tmp_path: Path
) -> None:
    app = APPLICATIONS[framework](Rexecutor(SQLiteBackend(tmp_path / "jobs.db"), executors=[greet]))
    client: Any = client_of(app)

    assert client.post("/ann").status_code == 200

    (waiting,) = assert_enqueued_sync(1, for_executor=greet, with_data=greet.data("ann"))
    assert waiting.status is JobStatus.SCHEDULED
    assert list(tmp_path.iterdir()) == []


def test_flask_s_client_records_what_is_enqueued_in_its_session(
    rexecutor_backend: InMemoryBackend, tmp_path: Path
) -> None:
    db, app = SQLAlchemy(), Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'shop.db'}"
    db.init_app(app)
    backend = SQLiteBackend(tmp_path / "shop.db")

    @app.post("/<name>")
    def enqueue(name: str) -> list[int]:
        handle = greet.options(connection=db.session, backend=backend).enqueue_sync(name)
        db.session.commit()
        return [handle.id]

    assert enqueue is not None
    assert app.test_client().post("/ann").status_code == 200

    assert_enqueued_sync(1, for_executor=greet, with_data=greet.data("ann"))
    with app.app_context():
        db.engine.dispose()
