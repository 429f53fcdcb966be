"""A worker in the lifespan of an application that uvicorn serves: how it ends, and what becomes of its jobs."""

import os
import signal
from pathlib import Path

import pytest

from rexecutor import ErrorKind, JobStatus
from tests.frameworks.served import APPLICATIONS, Site, open_request

STOPPING = "stopping: waiting for 1 running job"


@pytest.mark.parametrize("framework", APPLICATIONS)
def test_jobs_run_before_and_after_a_restart_of_the_server(framework: str, tmp_path: Path) -> None:
    with Site(framework, "sqlite", tmp_path) as site:
        site.let_go("first")
        site.let_go("second")
        before = site.uvicorn()
        first = site.running(before, "first")
        before.end()
        after = site.uvicorn()
        second = site.running(after, "second")

        assert site.until_ended(first).status is JobStatus.COMPLETE
        assert site.until_ended(second).result == after.process.pid


@pytest.mark.parametrize(
    ("signals", "status"), [((signal.SIGINT,), 0), ((signal.SIGTERM,), -signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"]
)
def test_at_the_first_signal_a_job_may_end(signals: tuple[signal.Signals], status: int, tmp_path: Path) -> None:
    with Site("fastapi", "sqlite", tmp_path) as site:
        server = site.uvicorn("--timeout-graceful-shutdown", "1")
        job_id = site.running(server, "slow")

        os.killpg(server.process.pid, signals[0])
        site.until(lambda: STOPPING in server.said)
        site.let_go("slow")

        assert server.ended() == status
        assert site.job(job_id).status is JobStatus.COMPLETE


@pytest.mark.parametrize("is_request_open", [False, True], ids=["no request", "a request"])
def test_at_a_second_ctrl_c_the_job_is_given_back_at_once(is_request_open: bool, tmp_path: Path) -> None:
    with Site("fastapi", "sqlite", tmp_path) as site:
        server = site.uvicorn()
        job_id = site.running(server, "slow")
        if is_request_open:
            open_request(site, server)

        server.press_ctrl_c()
        site.until(lambda: ("Waiting for connections to close" if is_request_open else STOPPING) in server.said)
        server.press_ctrl_c()

        assert server.ended(10) == 0
        job = site.job(job_id)
        assert (job.status, job.attempt, job.errors) == (JobStatus.SCHEDULED, 0, ())


def test_a_job_that_ignores_its_cancellation_is_given_back_and_a_third_ctrl_c_ends_the_process(
    tmp_path: Path,
) -> None:
    with Site("fastapi", "sqlite", tmp_path) as site:
        server = site.uvicorn()
        job_id = site.running(server, "deaf")

        server.press_ctrl_c()
        site.until(lambda: STOPPING in server.said)
        server.press_ctrl_c()
        site.until(lambda: "Finished server process" in server.said)
        server.press_ctrl_c()
        server.ended()

        assert (site.job(job_id).status, site.job(job_id).attempt) == (JobStatus.SCHEDULED, 0)


def test_a_reload_waits_for_the_job_and_the_new_code_runs_the_next(tmp_path: Path) -> None:
    with Site("fastapi", "sqlite", tmp_path) as site:
        server = site.uvicorn("--reload")
        old = site.running(server, "old")

        code = site.folder / "jobs.py"
        code.write_text(code.read_text().replace("return os.getpid()", "return -1"))
        site.until(lambda: STOPPING in server.said)
        site.let_go("old")
        site.let_go("new")
        site.until(lambda: server.said.count("Application startup complete") > 1)
        new = site.running(server, "new")

        assert (site.until_ended(old).attempt, site.until_ended(new).attempt) == (1, 1)
        assert (site.job(old).result != -1, site.job(new).result) == (True, -1)
        assert site.begun() == ["old", "new"]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_each_of_several_workers_is_a_node_and_a_killed_one_loses_no_job(kind: str, tmp_path: Path) -> None:
    with Site("fastapi", kind, tmp_path) as site:
        server = site.uvicorn("--workers", "2")
        site.until(lambda: server.said.count(") started: ") > 1)
        job_id = site.running(server, "slow")

        os.kill(site.last_process(), signal.SIGKILL)
        site.until(lambda: site.begun() == ["slow", "slow"])
        site.let_go("slow")
        job = site.until_ended(job_id)
        site.until(lambda: server.said.count(") started: ") > 2)
        server.press_ctrl_c()

        assert (job.status, job.attempt, [one.kind for one in job.errors]) == (JobStatus.COMPLETE, 2, [ErrorKind.LOST])
        assert server.ended() == 0
