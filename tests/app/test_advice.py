"""Keywords that are none: the error says which one is meant."""

from typing import Any

import pytest

from rexecutor import InMemoryBackend, Rexecutor, job


@job
async def send(to: str) -> None: ...


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("concurrency", "use max_concurrency"),
        ("executor", "use executors"),
        ("tasks", "use executors"),
        ("middleware", "use around_execute or around_enqueue"),
        ("zzz", "it has backend, executors, max_concurrency"),
    ],
)
def test_a_setting_that_a_rexecutor_has_not_is_told(keyword: str, meant: str) -> None:
    given: dict[str, Any] = {keyword: 4}

    with pytest.raises(TypeError, match=f"Rexecutor has no setting '{keyword}'; {meant}"):
        Rexecutor(InMemoryBackend(), **given)


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [("countdown", "schedule_in"), ("eta", "schedule_at"), ("max_retries", "max_attempts"), ("tag", "tags")],
)
def test_a_setting_that_an_enqueue_has_not_is_told(keyword: str, meant: str) -> None:
    given: dict[str, Any] = {keyword: 4}

    with pytest.raises(TypeError, match=f"options has no setting '{keyword}'; use {meant}"):
        send.options(**given)
