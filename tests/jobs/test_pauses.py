"""Pauses by an executor's class and by a function job, with an event loop and without one."""

from datetime import timedelta
from typing import Any

import pytest

from rexecutor import ConfigurationError, Executor, GlobalBackendError, InMemoryBackend, Job, job
from rexecutor import override_global_backend as overriding
from rexecutor.backend import Pause

HOUR = timedelta(hours=1)


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


@job
async def send(to: str) -> None: ...


@pytest.mark.parametrize("executor", [Mail, Mail(), send])
async def test_an_executor_is_paused_and_resumed_under_its_name(executor: Any) -> None:
    backend = InMemoryBackend()

    with overriding(backend):
        pause = await executor.pause_jobs("why not", lasting=HOUR)
        paused = await backend.pauses()
        was_paused = await executor.resume_jobs()

    assert (pause.executor, pause.reason, pause.until - pause.since) == (executor.name, "why not", HOUR)
    assert paused == [pause]
    assert was_paused
    assert await backend.pauses() == []


@pytest.mark.parametrize("executor", [Mail, Mail(), send])
async def test_the_synchronous_twins_do_the_same(executor: Any) -> None:
    backend = InMemoryBackend()

    pause: Pause = executor.pause_jobs_sync("why not", backend=backend)

    assert await backend.pauses() == [pause]
    assert pause.until is None
    assert executor.resume_jobs_sync(backend=backend)
    assert not executor.resume_jobs_sync(backend=backend)


async def test_another_executor_stays_paused() -> None:
    backend = InMemoryBackend()
    await Mail.pause_jobs("", backend=backend)
    await send.pause_jobs("", backend=backend)

    await Mail.resume_jobs(backend=backend)

    assert [pause.executor for pause in await backend.pauses()] == ["send"]


async def test_without_a_backend_a_pause_is_an_error() -> None:
    with pytest.raises(GlobalBackendError):
        await Mail.pause_jobs("")
    with pytest.raises(GlobalBackendError):
        await Mail.resume_jobs()


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("pause_sync", ("mail", None), {}, "pause: reason must be a str, not None"),
    (
        "pause_sync",
        ("mail", ""),
        {"lasting": 60},
        r"pause: lasting must be a timedelta, not 60; write timedelta\(seconds=…\)",
    ),
    (
        "pause_sync",
        ("mail", ""),
        {"lasting": -HOUR},
        "pause: lasting must be a timedelta from 0:00:00.000001 to 365000",
    ),
    ("pause_sync", ("a b", ""), {}, "pause: executor must be 1 to 128 characters"),
    ("resume_sync", ("a b",), {}, "resume: executor must be 1 to 128 characters"),
]


@pytest.mark.parametrize(("name", "arguments", "keywords", "message"), WRONG)
def test_a_wrong_argument_is_named(
    name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        getattr(InMemoryBackend(), name)(*arguments, **keywords)
