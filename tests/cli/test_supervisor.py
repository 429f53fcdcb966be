"""`rexecutor worker --processes`: a supervisor and its processes, on the stores that several processes share."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from rexecutor import Backend, JobStatus
from rexecutor.model.job import JobRecord, NewJob
from rexecutor.model.where import Everything
from tests.backends import made_backend
from tests.cli.worker_program import APPLICATION, Program, running
from tests.postgres import schema_of, server_url
from tests.support import until

SHARED = ("sqlite", "postgres")
STARTED = r"\[(worker \d)\] rexecutor: node .* started"


class Shop:
    """A folder with an application, and its store."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        self.code = folder / "shop.py"
        self.code.write_text(APPLICATION)

    @property
    def environment(self) -> dict[str, str]:
        if self.kind == "postgres":
            return {"STORE_URL": server_url(), "STORE_SCHEMA": schema_of(self.folder)}
        return {"STORE_URL": f"sqlite:///{self.folder / 'jobs.db'}"}

    @asynccontextmanager
    async def backend(self) -> AsyncGenerator[Backend]:
        async with made_backend(self.kind, self.folder) as backend:
            yield backend

    def enqueue(self, *seconds: float, executor: str = "work") -> None:
        async def enqueue() -> None:
            async with self.backend() as backend:
                jobs = [NewJob(executor, str(each), None, 5, 0, (), None, timedelta(0)) for each in seconds]
                await backend.enqueue(jobs)

        asyncio.run(enqueue())

    def jobs(self, status: JobStatus | None = None) -> list[JobRecord]:
        """Wait until all jobs have this status, and return them."""

        async def read() -> list[JobRecord]:
            async with self.backend() as backend:
                if status is not None:
                    wanted = status
                    await until(lambda: _all_are(backend, wanted), 60)
                return list(await backend.query(Everything()))

        return asyncio.run(read())

    def until_executing(self) -> None:
        async def wait() -> None:
            async with self.backend() as backend:
                await until(lambda: _any_is(backend, JobStatus.EXECUTING), 60)

        asyncio.run(wait())


async def _all_are(backend: Backend, status: JobStatus) -> bool:
    return all(record.status is status for record in await backend.query(Everything()))


async def _any_is(backend: Backend, status: JobStatus) -> bool:
    return any(record.status is status for record in await backend.query(Everything()))


@pytest.fixture(params=SHARED)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    shop = Shop(request.param, tmp_path)
    shop.jobs()  # creates the tables
    return shop


@pytest.fixture
def lite(tmp_path: Path) -> Shop:
    return Shop("sqlite", tmp_path)


def pids_of(program: Program) -> list[int]:
    return [int(match[1]) for match in program.until(r"\[supervisor\] .* started: process (\d+)")]


def test_a_restart_under_load_replaces_each_process_and_loses_no_job(shop: Shop) -> None:
    shop.enqueue(*[0.1] * 60)
    with running(shop.folder, "--processes", "2", "--concurrency", "2", environment=shop.environment) as program:
        program.until(STARTED, 2)
        program.send(signal.SIGHUP)
        program.until("restarted all processes")
        jobs = shop.jobs(JobStatus.COMPLETE)
        program.send(signal.SIGTERM)
        status = program.status()

    assert status == 0, program.text
    assert {match[1] for match in program.until(STARTED, 4)} == {"worker 1", "worker 2"}
    assert len(set(pids_of(program))) == 4
    assert [(record.attempt, record.errors) for record in jobs] == [(1, ())] * 60
    assert "ERROR" not in program.text


def test_a_process_that_is_killed_is_started_again_and_its_jobs_are_run_by_others(shop: Shop) -> None:
    with running(shop.folder, "--processes", "2", "--concurrency", "1", environment=shop.environment) as program:
        program.until(STARTED, 2)
        shop.enqueue(1, 1)
        shop.until_executing()
        os.kill(pids_of(program)[0], signal.SIGKILL)
        program.until(r"worker 1 .* ended by itself: SIGKILL; it is started again in 0\.\d s")
        program.until(STARTED, 3)
        shop.jobs(JobStatus.COMPLETE)
        program.send(signal.SIGTERM)
        status = program.status()

    assert status == 0, program.text


def test_a_signal_to_the_whole_group_counts_once(lite: Shop) -> None:
    with running(lite.folder, "--processes", "2", environment=lite.environment) as program:
        program.until(STARTED, 2)
        lite.enqueue(2)
        lite.until_executing()
        program.send(signal.SIGINT, to_group=True)
        status = program.status()

    (job,) = lite.jobs()
    assert (status, job.status, job.attempt) == (0, JobStatus.COMPLETE, 1), program.text


def test_a_second_signal_cancels_jobs_and_gives_them_back(lite: Shop) -> None:
    with running(lite.folder, "--processes", "1", environment=lite.environment) as program:
        program.until(STARTED)
        lite.enqueue(600)
        lite.until_executing()
        program.send(signal.SIGTERM)
        program.until("waiting for 1 running job")
        program.send(signal.SIGTERM)
        status = program.status()

    (job,) = lite.jobs()
    assert (status, job.status, job.attempt) == (0, JobStatus.SCHEDULED, 0), program.text


def test_a_third_signal_ends_all_at_once(lite: Shop) -> None:
    with running(lite.folder, "--processes", "1", environment=lite.environment) as program:
        program.until(STARTED)
        lite.enqueue(600, executor="block")
        lite.until_executing()
        program.send(signal.SIGTERM)
        program.until("stopping: waiting for 1 process")
        program.send(signal.SIGTERM)
        program.send(signal.SIGINT)
        status = program.status()

    assert status in (128 + signal.SIGINT, 128 + signal.SIGTERM), program.text


def test_without_its_supervisor_a_process_shuts_down(lite: Shop) -> None:
    with running(lite.folder, "--processes", "2", environment=lite.environment) as program:
        program.until(STARTED, 2)
        program.send(signal.SIGKILL)
        program.until(r"\[worker \d\] rexecutor: node .* stopped", 2)
        program.status()

    assert len(program.until("the supervisor has ended, so this worker shuts down")) == 2


def test_jobs_in_child_processes_run_in_a_process_of_a_supervisor_too(lite: Shop) -> None:
    with running(lite.folder, "--processes", "1", environment=lite.environment) as program:
        program.until(STARTED)
        lite.enqueue(0, executor="apart")
        lite.jobs(JobStatus.COMPLETE)
        lite.enqueue(2, executor="apart")
        lite.until_executing()
        program.send(signal.SIGTERM, to_group=True)
        status = program.status()

    assert status == 0, program.text
    assert [(job.status, job.attempt) for job in lite.jobs()] == [(JobStatus.COMPLETE, 1)] * 2, program.text


@pytest.mark.parametrize(
    ("target", "code", "told"),
    [("shop:nowhere", APPLICATION, "error: worker 1: .*has no 'nowhere'"), ("shop:make", "1 / 0", "ZeroDivisionError")],
)
def test_an_application_that_cannot_start_ends_the_supervisor_with_the_status_of_a_worker(
    lite: Shop, target: str, code: str, told: str
) -> None:
    lite.code.write_text(code)
    with running(lite.folder, "--processes", "3", environment=lite.environment, target=target) as program:
        status = program.status()

    assert status == (2 if "nowhere" in target else 1)
    assert len(program.until(told)) == 1
    assert "Traceback" not in program.text


def test_a_restart_into_code_that_is_broken_is_given_up(lite: Shop) -> None:
    with running(lite.folder, "--processes", "2", environment=lite.environment) as program:
        program.until(STARTED, 2)
        lite.code.write_text("1 / 0")
        program.send(signal.SIGHUP)
        program.until(
            r"the restart is given up and the old processes go on: the new worker 1 .* ended \(exit status 1\)"
        )
        lite.enqueue(0)
        lite.jobs(JobStatus.COMPLETE)
        program.send(signal.SIGTERM)
        status = program.status()

    assert status == 0
    assert len(program.until(STARTED)) == 2


def test_the_number_of_processes_may_stand_in_the_file(lite: Shop) -> None:
    (lite.folder / "pyproject.toml").write_text('[tool.rexecutor]\nprocesses = 2\nlog-format = "json"\n')
    with running(lite.folder, environment=lite.environment) as program:
        program.until(r'"message": "node \w+ .*started', 2)
        program.send(signal.SIGTERM)
        program.status()

    assert {json.loads(line)["process"] for line in program.lines} == {"supervisor", "worker 1", "worker 2"}


def test_the_error_that_keeps_a_process_from_starting_is_a_line_of_json_like_the_others(lite: Shop) -> None:
    (lite.folder / "broken.py").write_text("1 / 0")
    with running(
        lite.folder, "--processes", "2", "--log-format", "json", environment=lite.environment, target="broken:rexecutor"
    ) as program:
        program.until("ZeroDivisionError")
        program.send(signal.SIGTERM)
        program.status()

    errors = [line for line in map(json.loads, program.lines) if "ZeroDivisionError" in line["message"]]
    assert {(line["level"], line["logger"], line["process"]) for line in errors} == {("error", "rexecutor", "worker 1")}


def health_of(url: str) -> tuple[int, list[str]]:
    try:
        with urlopen(f"{url}/healthz", timeout=20) as answer:  # noqa: S310 - a server of this test
            return answer.status, json.load(answer)["problems"]
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["problems"]


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_a_process_that_a_job_keeps_from_responding_is_killed_when_its_lease_has_run_out(shop: Shop) -> None:
    with running(shop.folder, "--processes", "2", environment=shop.environment) as program:
        program.until(STARTED, 2)
        shop.enqueue(600, executor="hold")
        (hung,) = program.until(r"(worker \d) .* has not responded for 10 s and is killed; its lease has run out")
        program.until(rf"{hung[1]} .* ended: SIGKILL; it is started again in 0\.\d s")
        program.until(STARTED, 3)
        (job,) = shop.jobs(JobStatus.COMPLETE)
        program.send(signal.SIGTERM)
        status = program.status()

    assert (status, job.attempt) == (0, 2), program.text


def test_a_process_is_killed_too_if_its_very_first_job_keeps_it_from_responding(lite: Shop) -> None:
    lite.enqueue(600, executor="hold")
    with running(lite.folder, "--processes", "1", environment=lite.environment) as program:
        program.until(r"worker 1 .* has not responded for 10 s and is killed; its lease has run out")
        program.until(STARTED, 2)
        program.until("job 1 .* complete, attempt 2")
        program.send(signal.SIGTERM)
        status = program.status()

    assert status == 0, program.text


async def test_a_process_that_hangs_is_a_problem_of_all(lite: Shop) -> None:
    lite.code.write_text(APPLICATION.replace("seconds=6", "seconds=60"))
    options = ("--processes", "2", "--health-port", "0", "--health-file", "healthy")
    with running(lite.folder, *options, environment=lite.environment) as program:
        url = program.until(r"answered at (http://\S+)/healthz")[0][1]
        await asyncio.to_thread(program.until, STARTED, 2)
        assert health_of(url) == (200, [])
        assert (lite.folder / "healthy").exists()
        os.kill(pids_of(program)[1], signal.SIGSTOP)
        # The process may hang in a transaction, so that the other one has a problem as well.
        await until(lambda: any(one.startswith("worker 2: has not reported for ") for one in health_of(url)[1]), 30)
        assert health_of(url)[0] == 503
        await until(lambda: not (lite.folder / "healthy").exists(), 30)
        os.kill(pids_of(program)[1], signal.SIGCONT)
        await until(lambda: health_of(url)[0] == 200, 30)
        program.send(signal.SIGTERM)
        assert await asyncio.to_thread(program.status) == 0

    assert not (lite.folder / "healthy").exists()


@pytest.mark.skipif(find_spec("watchfiles") is None, reason="needs watchfiles")
def test_changed_code_is_run_and_broken_code_waits_for_another_change(lite: Shop) -> None:
    with running(lite.folder, "--reload", environment=lite.environment) as program:
        program.until(STARTED)
        lite.code.write_text("1 / 0")
        program.until("the code has changed")
        program.until(r"worker 1 .* ended by itself: exit status 1$")
        lite.code.write_text(APPLICATION.replace('name = "block"', 'name = "mended"'))
        program.until("started: .* executors: work, mended, hold, apart")
        program.send(signal.SIGINT, to_group=True)
        status = program.status()

    assert status == 0, program.text


@pytest.mark.skipif(find_spec("watchfiles") is None, reason="needs watchfiles")
def test_a_job_has_the_grace_to_end_before_changed_code_is_run(lite: Shop) -> None:
    with running(lite.folder, "--reload", environment=lite.environment) as program:
        program.until(STARTED)
        lite.enqueue(2)
        lite.until_executing()
        lite.code.write_text(APPLICATION + "\n")
        program.until(STARTED, 2)
        program.send(signal.SIGTERM)
        program.status()

    (job,) = lite.jobs()
    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 1), program.text


@pytest.mark.skipif(find_spec("watchfiles") is not None, reason="needs that watchfiles is missing")
def test_without_watchfiles_a_reload_is_a_misuse(lite: Shop) -> None:
    with running(lite.folder, "--reload", environment=lite.environment) as program:
        assert program.status() == 2

    assert program.text == "error: --reload: watchfiles is not installed: pip install 'rexecutor[reload]'\n"


def counted(url: str, status: str) -> float:
    """How many attempts have ended in this way, as `/metrics` shows it; 0 if it does not."""
    with urlopen(f"{url}/metrics", timeout=20) as answer:  # noqa: S310 - a server of this test
        text = answer.read().decode()
    found = re.findall(rf'^rexecutor_\w*ended\w*_total{{[^}}]*"{status}"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found))


@pytest.mark.skipif(
    find_spec("prometheus_client") is None or find_spec("rexecutor.prometheus") is None,
    reason="needs prometheus_client",
)
async def test_the_metrics_of_all_processes_add_up_also_of_those_that_have_ended(lite: Shop) -> None:
    options = ("--processes", "2", "--concurrency", "1", "--health-port", "0")
    with running(lite.folder, *options, environment=lite.environment) as program:
        url = program.until(r"answered at (http://\S+)/healthz")[0][1]
        await asyncio.to_thread(program.until, STARTED, 2)
        await asyncio.to_thread(lite.enqueue, *[0.1] * 20)
        await until(lambda: counted(url, "complete") == 20, 60)
        runners = {match[1] for match in program.until(r"\[(worker \d)\] rexecutor.jobs: job \d+ .* complete", 20)}
        program.send(signal.SIGHUP)
        await asyncio.to_thread(program.until, "restarted all processes")
        await asyncio.to_thread(lite.enqueue, 0)
        await until(lambda: counted(url, "complete") == 21, 60)
        program.send(signal.SIGTERM)
        assert await asyncio.to_thread(program.status) == 0

    assert runners == {"worker 1", "worker 2"}
