import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rexecutor.app.connect import connect
from rexecutor.backend.base import Backend
from rexecutor.backend.messages import Demand, Node
from rexecutor.cli import main
from rexecutor.model.job import ErrorKind, JobError, NewJob
from rexecutor.model.outcomes import Complete, Failed, Settlement
from tests.cli.command_line import Answer, Run
from tests.cli.processes import APPLICATION, Place
from tests.postgres import run_postgres, schema_of, server_url

NODE = Node("node-1", "here", timedelta(minutes=5))
TRACEBACK = 'Traceback (most recent call last):\n  File "mail.py", line 7\nSmtpError: no\x1b[31m such host'


@pytest.fixture
def rexecutor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the command line in this process, in an empty folder."""
    monkeypatch.delenv("REXECUTOR_URL", raising=False)
    monkeypatch.delenv("REXECUTOR_SCHEMA", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        output = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Answer(caught.value.code, output.out, output.err)

    return run


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with one job in each status, ids in the order of `JobStatus` from 1 to 6, and a job of another kind."""
    url = f"sqlite:///{tmp_path / 'a store.db'}"
    asyncio.run(_fill(connect(url)))
    return url


async def _fill(backend: Backend) -> None:
    async with backend:
        await backend.enqueue([_job("later", delay=timedelta(days=1)), *[_job(name) for name in "bcdef"], _report()])
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(NODE)
        heartbeats.close()
        claim = await backend.claim(Demand({"email": 4}, 4), NODE.id)
        assert [record.id for record in claim.jobs] == [2, 3, 4, 5]
        await backend.cancel(5, "not wanted")
        await backend.settle(
            [
                Settlement(3, 1, Failed(_error(), timedelta(days=1))),
                Settlement(4, 1, Complete('{"sent":["d ü"]}')),
                Settlement(5, 1, Failed(_error(), timedelta(0))),
            ]
        )
        await backend.settle([Settlement(6, 1, Failed(_error(), timedelta(0)))])
        claim = await backend.claim(Demand({"email": 1}, 1), NODE.id)
        await backend.settle([Settlement(6, 1, Failed(_error(), timedelta(0)))])


def _job(name: str, *, delay: timedelta = timedelta(0)) -> NewJob:
    attempts = 1 if name == "f" else 5
    return NewJob("email", f'{{"to":"{name} ü"}}', None, attempts, 3, ("a b", "c"), None, delay)


def _report() -> NewJob:
    data, expires_at = '"q3\\u001b[2J"', datetime(2126, 5, 1, 12, 30, tzinfo=UTC)
    return NewJob("report", data, '{"by":"ann"}', 1, 9, (), None, timedelta(0), expires_at=expires_at)


def _error() -> JobError:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    return JobError(1, ErrorKind.EXCEPTION, "SmtpError", TRACEBACK, now)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A folder with an application on a store of each kind, with some jobs."""
    is_file = request.param == "sqlite"
    url, schema = (f"sqlite:///{tmp_path / 'jobs.db'}", None) if is_file else (server_url(), schema_of(tmp_path))
    (tmp_path / "app.py").write_text(APPLICATION.format(url=url, schema=schema))
    made = Place(tmp_path, url, schema, lambda: connect(url, schema=schema))
    made.fill()
    yield made
    if schema is not None:
        run_postgres(f"DROP SCHEMA {schema} CASCADE")
