"""`rexecutor worker --health-port`: what is wrong with a real process is told while it is wrong."""

import asyncio
import json
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from psycopg.conninfo import conninfo_to_dict

from rexecutor.backend.sqlite import SQLiteBackend
from rexecutor.model.job import NewJob
from tests.cli.worker_program import APPLICATION, Program, running
from tests.faults.proxy import Proxy
from tests.postgres import Migrated, schema_of, server_url
from tests.support import until


def told(url: str, path: str = "/healthz") -> tuple[int, dict[str, Any]]:
    """The status, 0 if nobody answers, and the body."""
    try:
        with urlopen(url + path, timeout=20) as answer:  # noqa: S310 - a server of this test
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)
    except (URLError, ConnectionError):
        return 0, {}


async def url_of(program: Program) -> str:
    matches = await asyncio.to_thread(program.until, r"answered at (http://\S+)/healthz")
    return matches[0][1]


def is_told(url: str, words: str) -> Callable[[], bool]:
    def asked() -> bool:
        status, body = told(url)
        return status == 503 and any(words in problem for problem in body["problems"])

    return asked


async def test_a_blocked_event_loop_is_told_while_it_is_blocked(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    environment = {"STORE_URL": f"sqlite:///{tmp_path / 'jobs.db'}"}
    with running(tmp_path, "--health-port", "0", environment=environment) as program:
        url = await url_of(program)
        await until(lambda: told(url, "/readyz")[0] == 200, 60)
        async with SQLiteBackend(tmp_path / "jobs.db") as backend:
            await backend.enqueue([NewJob("block", "9", None, 1, 0, (), None, timedelta(0))])
        await until(is_told(url, "the event loop has been blocked for"), 60)
        await until(lambda: told(url)[0] == 200, 60)
        program.send(signal.SIGTERM)
        assert await asyncio.to_thread(program.status) == 0


async def test_a_database_that_is_gone_is_told_and_its_return_as_well(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    schema = schema_of(tmp_path)
    async with Migrated(server_url(), schema=schema):
        pass
    with Proxy(server_url()) as proxy:
        environment = {"STORE_URL": proxy_url(proxy), "STORE_SCHEMA": schema}
        with running(tmp_path, "--health-port", "0", environment=environment) as program:
            url = await url_of(program)
            await until(lambda: told(url, "/readyz")[0] == 200, 60)
            proxy.refuses = True
            proxy.cut()
            await until(is_told(url, "claim has failed for"), 60)
            await until(is_told(url, "the lease is lost"), 60)
            proxy.refuses = False
            await until(lambda: told(url, "/readyz")[0] == 200, 60)
            program.send(signal.SIGTERM)
            assert await asyncio.to_thread(program.status) == 0


def proxy_url(proxy: Proxy) -> str:
    """The proxy's address as a URL, which `connect` takes."""
    parts = conninfo_to_dict(proxy.url)
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"
