"""Applications of FastAPI, Starlette and Litestar that run their own jobs, to be served by real servers.

`POST /NAME` enqueues a job of that name, which runs until it is let go; `GET /open` is a request that stays open.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from rexecutor import Backend, Job, PostgresBackend, SQLiteBackend, job_handle
from tests.examples.programs import Programs, Server
from tests.postgres import schema_of, server_url

JOBS: Final = """
import asyncio
import logging
import os
from datetime import timedelta
from pathlib import Path

from rexecutor import Rexecutor, connect, job

logging.basicConfig(level=logging.INFO)


@job(max_attempts=2)
async def work(name: str) -> int:
    with Path("begun").open("a") as log:
        log.write(f"{name} {os.getpid()}\\n")
    while not Path(f"{name} may end").exists():
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            if name != "deaf":
                raise
    return os.getpid()


backend = connect(os.environ["STORE"], schema=os.environ.get("SCHEMA"))
rexecutor = Rexecutor(backend, executors=[work], lease=timedelta(seconds=1)).set_global_backend()
"""

APPLICATIONS: Final[Mapping[str, str]] = {
    "fastapi": """
import asyncio
from pathlib import Path

from fastapi import FastAPI

from jobs import rexecutor, work

app = FastAPI(lifespan=rexecutor.lifespan)


@app.post("/{name}")
async def enqueue(name: str) -> int:
    return (await work.enqueue(name)).id


@app.get("/open")
async def stay_open() -> None:
    Path("opened").touch()
    await asyncio.sleep(3600)
""",
    "starlette": """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from jobs import rexecutor, work


async def enqueue(request):
    return JSONResponse((await work.enqueue(request.path_params["name"])).id)


app = Starlette(lifespan=rexecutor.lifespan, routes=[Route("/{name}", enqueue, methods=["POST"])])
""",
    "litestar": """
from litestar import Litestar, post
from litestar.params import FromPath

from jobs import rexecutor, work


@post("/{name:str}")
async def enqueue(name: FromPath[str]) -> int:
    return (await work.enqueue(name)).id


app = Litestar([enqueue], lifespan=[rexecutor.lifespan])
""",
}


class Site(Programs):
    """A folder with one of the applications, what serves it, and its store."""

    def __init__(self, framework: str, kind: str, place: Path) -> None:
        """Write the application.

        Args:
            framework: Which application.
            kind: The store, `sqlite` or `postgres`; its tables are made.
            place: The test's folder.
        """
        folder = place / "site"
        folder.mkdir()
        (folder / "jobs.py").write_text(JOBS)
        (folder / "web.py").write_text(APPLICATIONS[framework])
        if kind == "sqlite":
            self.backend: Backend = SQLiteBackend(folder / "jobs.db")
            super().__init__(folder, STORE="sqlite:///jobs.db")
        else:
            self.backend = PostgresBackend(server_url(), schema=schema_of(place))
            super().__init__(folder, STORE=server_url(), SCHEMA=schema_of(place))
            options = ("--url", server_url(), "--schema", schema_of(place))
            self.run("-m", "rexecutor", "migrate", *options)

    def uvicorn(self, *options: str) -> Server:
        """Serve the application with uvicorn."""
        return self.serve("-m", "uvicorn", "web:app", "--port", "{port}", *options)

    def begun(self) -> list[str]:
        """Return the names of the jobs that have begun, one for each attempt."""
        return self._begun()[::2]

    def last_process(self) -> int:
        """Return the id of the process in which the last attempt has begun."""
        return int(self._begun()[-1])

    def _begun(self) -> list[str]:
        file = self.folder / "begun"
        return file.read_text().split() if file.exists() else []

    def running(self, server: Server, name: str) -> int:
        """Have a job run, and return its id."""
        before = self.begun().count(name)
        job_id: int = server.post(f"/{name}").json()
        self.until(lambda: self.begun().count(name) > before)
        return job_id

    def let_go(self, name: str) -> None:
        """Let the jobs of that name end."""
        (self.folder / f"{name} may end").touch()

    def job(self, job_id: int) -> Job[object, object, object]:
        """Return the job."""
        return job_handle(job_id, backend=self.backend).fetch_sync()

    def until_ended(self, job_id: int) -> Job[object, object, object]:
        """Wait until the job has ended, and return it."""
        return self.wait_for(lambda: self.job(job_id), lambda job: job.status.has_ended)


def open_request(site: Site, server: Server) -> None:
    """Send a request, in a thread, that the server will not have responded to when it is told to end."""

    def request() -> None:
        with suppress(httpx.TransportError):
            server.client.get("/open")

    threading.Thread(target=request, daemon=True).start()
    site.until((site.folder / "opened").exists)
