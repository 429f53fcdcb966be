"""Settings of an executor class that do not exist are refused where they are written."""

import threading
from datetime import timedelta
from typing import TypeVar

import pytest

from rexecutor import DefinitionError, Executor, Job

T = TypeVar("T")


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


@pytest.mark.parametrize("name", ["max_attemps", "max_atempts", "max_concurency", "uniqueness_criterias"])
def test_a_misspelt_setting_is_refused_where_it_is_written(name: str) -> None:
    with pytest.raises(DefinitionError, match=f"{name} is not a setting; did you mean (max|uniqueness)_"):
        type("Misspelt", (Mail,), {name: 1})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("queue", "slow", "there are no queues; a Rexecutor runs the executors that it is given"),
        ("max_retries", 3, "set max_attempts, which counts the first attempt too"),
        ("retry_backoff", True, r"define `def backoff\(self, job\)`"),
        ("autoretry_for", (OSError,), r"set discard_on"),
        ("time_limit", 30, r"define `def timeout\(self, job\)`"),
        ("rate_limit", "10/m", "max_concurrency limits"),
        ("concurrency", 5, "set max_concurrency"),
        ("countdown", timedelta(seconds=5), r"enqueue\(…, schedule_in=…\)"),
        ("expires", None, r"enqueue\(…, expires_in=…\)"),
        ("cron", "0 0 * * *", "with_cron_executor"),
        ("unique", True, "set uniqueness_criteria"),
        ("tags", ["a"], r"enqueue\(…, tags=…\)"),
    ],
)
def test_a_setting_of_another_library_is_refused_with_the_name_of_ours(name: str, value: object, message: str) -> None:
    with pytest.raises(DefinitionError, match=f"Foreign: {name} is not a setting: .*{message}.*name it _{name}"):
        type("Foreign", (Mail,), {name: value})


def test_a_setting_of_another_library_is_found_in_a_base_of_ones_own() -> None:
    class Base(Executor[T]):
        queue = "slow"

    with pytest.raises(DefinitionError, match="queue is not a setting"):

        class Charge(Base[str]):  # pyright: ignore[reportUnusedClass]
            name = "charge"

            async def execute(self, job: Job[str]) -> None: ...


def test_attributes_of_ones_own_are_no_settings() -> None:
    class Letter(Mail):
        name = "letter"
        template = "Dear {name}"
        _queue = "slow"
        schedule = threading.Lock()

        def retry(self) -> None: ...

        @property
        def priority(self) -> int:
            return 1

    assert Letter.template == "Dear {name}"
