"""`manage.py rexecutor`: real processes, and what they refuse to run."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from rexecutor import ErrorKind, InMemoryBackend, Rexecutor, SchemaError, Where, job_handle
from rexecutor.backend.base import Backend
from rexecutor.django import backend_for, closes_connections
from rexecutor.django.worker import BACKENDS, QUEUES, make
from tests.in_django.databases import child_environment, drop_tables
from tests.in_django.running import NEEDS_6
from tests.in_django.shop.models import Order

ROOT = Path(__file__).parents[2]
MANAGE = (sys.executable, "-W", "error", "-m", "django", "rexecutor")
OURS = "rexecutor.django.TaskBackend"
needs_6 = pytest.mark.skipif(django.VERSION < (6,), reason=NEEDS_6)


@contextmanager
def worker(
    *arguments: str, settings: Mapping[str, Any], command: tuple[str, ...] = MANAGE
) -> Generator["subprocess.Popen[bytes]"]:
    """Run a worker of the tests' project in a process of its own, within the block."""
    process = subprocess.Popen([*command, *arguments], cwd=ROOT, env=child_environment(settings))
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def tasks_in(alias: str, **changed: Any) -> dict[str, Any]:
    """Return the settings of a project whose tasks are in this database."""
    return {"TASKS": {"default": {"BACKEND": OURS, "OPTIONS": {"DATABASE": alias}, **changed}}}


def wait_for(backend: Backend, *job_ids: object) -> None:
    """Wait until the jobs have ended."""
    for job_id in job_ids:
        job_handle(int(str(job_id)), backend).wait_sync(timedelta(seconds=40))


@needs_6
def test_a_worker_runs_the_tasks_of_a_project_until_it_is_told_to_end(jobs: str) -> None:
    from tests.in_django.shop import tasks

    results = [tasks.add.enqueue(1, b=2), tasks.make_order_async.enqueue("a", jobs), tasks.fail.enqueue("no")]

    with worker("--queues", "default", "--concurrency", "3", "--grace=5", settings=tasks_in(jobs)) as process:
        wait_for(backend_for(jobs), *(result.id for result in results))
        process.send_signal(signal.SIGTERM)
        status = process.wait(20)

    for result in results:
        result.refresh()
    assert status == 0
    assert [str(result.status) for result in results] == ["SUCCESSFUL", "SUCCESSFUL", "FAILED"]
    assert [order.reference for order in Order.objects.using(jobs).all()] == ["a"]


@needs_6
def test_worker_processes_run_only_the_queues_that_are_named(
    sqlite_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.in_django.shop import tasks

    monkeypatch.setenv(QUEUES, "mail,late")
    command = (sys.executable, "-m", "rexecutor", "worker", "rexecutor.django.worker:make")
    settings = tasks_in(sqlite_database, QUEUES=["default", "mail", "late"])
    with override_settings(**settings):
        results = [tasks.add.using(queue_name=name).enqueue(1) for name in ("default", "mail", "mail", "late")]
        with worker("--processes", "2", settings=settings, command=command):
            wait_for(backend_for(sqlite_database), *(result.id for result in results[1:]))
        for result in results:
            result.refresh()

    assert [str(result.status) for result in results] == ["READY", *["SUCCESSFUL"] * 3]


@needs_6
def test_a_killed_worker_leaves_a_failure_or_another_attempt_and_never_silence(jobs: str, tmp_path: Path) -> None:
    from tests.in_django.shop import tasks

    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        os.mkfifo(tmp_path / name / "fifo")
    once = tasks.write_and_hang.enqueue(str(tmp_path / "once"))
    again = tasks.write_and_hang_again.enqueue(str(tmp_path / "again"))
    settings = {**tasks_in(jobs), "REXECUTOR": "tests.in_django.shop.jobs:rexecutor", "JOBS_DATABASE": jobs}

    with worker(settings=settings) as process:
        for name in ("once", "again"):
            assert (tmp_path / name / "fifo").read_text() == "begun"
        process.kill()
    with worker(settings=settings):
        wait_for(backend_for(jobs), once.id, again.id)

    once.refresh()
    again.refresh()
    [record] = backend_for(jobs).query_sync(Where.id_equals(int(once.id)))
    assert (str(once.status), [error.kind for error in record.errors]) == ("FAILED", [ErrorKind.LOST])
    assert (str(again.status), again.attempts) == ("SUCCESSFUL", 2)


def test_a_worker_runs_the_jobs_of_the_rexecutor_that_the_settings_name(sqlite_database: str) -> None:
    settings: dict[str, Any] = {
        "TASKS": {},
        "REXECUTOR": "tests.in_django.shop.jobs:rexecutor",
        "JOBS_DATABASE": sqlite_database,
    }
    Order.objects.create(reference="a")
    with override_settings(**settings):
        from tests.in_django.shop.jobs import count_orders, pay

        backend = backend_for(sqlite_database)
        paid = pay.options(backend=backend).enqueue_sync("a", sqlite_database)
        counted = count_orders.options(backend=backend).enqueue_sync(sqlite_database)

    with worker(settings=settings):
        wait_for(backend, paid.id, counted.id)

    assert paid.result_sync() == "a is paid"
    assert counted.result_sync() == 1
    assert Order.objects.get().paid


def test_a_project_without_jobs_is_told_what_to_set() -> None:
    with override_settings(TASKS={}), pytest.raises(CommandError, match="set REXECUTOR"):
        call_command("rexecutor")


def test_an_option_that_cannot_work_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with override_settings(REXECUTOR="tests.in_django.shop.jobs:rexecutor"), pytest.raises(SystemExit) as ended:
        call_command("rexecutor", concurrency="many")

    assert ended.value.code == 2
    assert "--concurrency" in capsys.readouterr().err


def test_the_command_says_what_it_needs() -> None:
    code = (
        "import sys; sys.modules['typer'] = None\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, "rexecutor"],
        env=child_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "manage.py rexecutor needs typer, which is missing: pip install 'rexecutor[cli]'\n"


def test_the_jobs_of_the_settings_run_with_fresh_connections(sqlite_database: str) -> None:
    with override_settings(TASKS={}, REXECUTOR="tests.in_django.shop.jobs:make", JOBS_DATABASE=sqlite_database):
        assert asyncio.run(made(lambda one: one._config.around_execute)) == (closes_connections,)
        assert asyncio.run(made(lambda one: list(one.executors))) == ["pay", "count_orders"]


@needs_6
def test_a_worker_has_two_executors_for_each_queue(sqlite_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(QUEUES, "")
    settings = tasks_in(sqlite_database, QUEUES=["a", "b"])
    settings["TASKS"]["any"] = {**settings["TASKS"]["default"], "QUEUES": []}
    names = [f"django.{name}{suffix}" for name in ("default.a", "default.b", "any") for suffix in ("", ":async")]

    with override_settings(**settings):
        assert asyncio.run(made(lambda one: list(one.executors))) == names
        monkeypatch.setenv(BACKENDS, "any")
        assert asyncio.run(made(lambda one: list(one.executors))) == names[-2:]
        monkeypatch.setenv(BACKENDS, "default")
        monkeypatch.setenv(QUEUES, "b")
        assert asyncio.run(made(lambda one: list(one.executors))) == names[2:4]


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        ({"TASKS": {}}, {}, "nothing to run: .*set REXECUTOR"),
        ({"TASKS": {}, "REXECUTOR": 7}, {}, "REXECUTOR must be a text"),
        ({"TASKS": {}}, {BACKENDS: "mail"}, "--backends: 'mail' is not a task backend"),
        ({"TASKS": {"default": {"BACKEND": OURS, "OPTIONS": {"STORE": "memory:"}}}}, {}, "no worker finds a job"),
        (
            {"TASKS": {"a": {"BACKEND": OURS}, "b": {"BACKEND": OURS, "OPTIONS": {"DATABASE": "postgres"}}}},
            {},
            r"several \(a: default, schema rexecutor, b: postgres, schema rexecutor\); run one worker for each",
        ),
        (
            {"TASKS": {"a": {"BACKEND": OURS}}, "REXECUTOR": "tests.in_django.test_worker:in_memory"},
            {},
            r"make it as Rexecutor\(rexecutor.django.backend_for\('default', schema='rexecutor'\)\)",
        ),
        pytest.param(
            {"TASKS": {"default": {"BACKEND": OURS}}},
            {QUEUES: "mail"},
            "no task backend has a queue 'mail'",
            marks=needs_6,
        ),
        pytest.param(
            {"TASKS": {"default": {"BACKEND": OURS, "QUEUES": ["default", "no good"]}}},
            {},
            "the queue 'no good' must consist",
            marks=needs_6,
        ),
        pytest.param(
            {"TASKS": {"default": {"BACKEND": OURS, "OPTIONS": {"MODULES": "shop"}}}},
            {},
            "must be a list",
            marks=needs_6,
        ),
    ],
    ids=["nothing", "no text", "backend", "memory", "two stores", "own store", "queue", "bad queue", "modules"],
)
def test_what_cannot_run_in_one_worker_is_refused(
    sqlite_database: str,
    monkeypatch: pytest.MonkeyPatch,
    settings: Mapping[str, Any],
    environment: Mapping[str, str],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with override_settings(**settings), pytest.raises(ValueError, match=message):
        asyncio.run(made(lambda _: None))


def test_a_worker_without_tables_is_told_djangos_command(postgres_database: str) -> None:
    async def opened() -> None:
        async with make() as rexecutor, rexecutor:
            pass

    with override_settings(**tasks_in(postgres_database), REXECUTOR="tests.in_django.test_worker:in_postgres"):
        drop_tables(postgres_database)

        with pytest.raises(SchemaError, match=r"no tables of rexecutor; run `manage.py migrate --database postgres`$"):
            asyncio.run(opened())


def in_postgres() -> Rexecutor:
    return Rexecutor(backend_for("postgres"))


def in_memory() -> Rexecutor:
    return Rexecutor(InMemoryBackend())


async def made(ask: Callable[[Rexecutor], Any]) -> Any:
    """Return what is asked of the worker's `Rexecutor`."""
    async with make() as rexecutor:
        return ask(rexecutor)
