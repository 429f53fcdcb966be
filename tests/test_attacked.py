"""What an attack and a newcomer found, each so that it does not come back."""

import asyncio
import os
import subprocess
import sys
import threading
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from rexecutor import (
    Backend,
    ConfigurationError,
    DefinitionError,
    Executor,
    InMemoryBackend,
    InvalidJobError,
    Job,
    JobNotFoundError,
    PrunerConfig,
    Rexecutor,
    UniquenessCriteria,
    Where,
    enqueue_many,
)
from rexecutor.model.codec import canonical
from rexecutor.model.job import NewJob
from tests.support import soon, until

T = TypeVar("T")


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


class Count(Executor[int]):
    name = "count"

    async def execute(self, job: Job[int]) -> None: ...


class Counting(InMemoryBackend):
    """Counts the queries."""

    queries = 0

    async def query(self, *arguments: Any, **named: Any) -> Any:
        self.queries += 1
        return await super().query(*arguments, **named)


async def test_jobs_that_cannot_be_decoded_cost_no_query_each() -> None:
    backend = Counting()
    await backend.enqueue([NewJob("mail", "7", None, 5, 0, (), None, timedelta(0))] * 5_000)
    last = await Mail.builder().with_data("a").enqueue(backend=backend)

    jobs = await Mail.query_jobs(Where.everything(), limit=1, backend=backend)

    assert [job.id for job in jobs] == [last.id]
    assert backend.queries <= 7


async def test_many_unique_jobs_in_memory_are_enqueued_in_no_time() -> None:
    builder = Mail.builder().with_data("a")
    builders = [builder.unique(UniquenessCriteria.by_key(number)) for number in range(5_000)]

    handles = await soon(enqueue_many(builders, backend=InMemoryBackend()), 10)

    assert {handle.disposition for handle in handles} == {"inserted"}


def test_a_key_of_a_model_with_a_set_is_the_same_in_every_process() -> None:
    code = (
        "import pydantic; from rexecutor import UniquenessCriteria\n"
        "class P(pydantic.BaseModel):\n    tags: set[str]\n"
        "print(UniquenessCriteria.by_key(P(tags=set('abcdefgh'))).key)"
    )

    keys = {
        subprocess.run(
            (sys.executable, "-c", code), env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(keys) == 1


def test_large_texts_are_not_kept() -> None:
    from rexecutor.model import codec

    before = codec._short.cache_info().currsize
    canonical('"' + "x" * 100_000 + '"')

    assert codec._short.cache_info().currsize == before


def test_criteria_that_say_nothing_are_refused() -> None:
    with pytest.raises(InvalidJobError, match="mail: unique: these say nothing"):
        Mail.builder().unique(UniquenessCriteria())
    with pytest.raises(DefinitionError, match="uniqueness_criteria say nothing"):
        type("Any", (Mail,), {"uniqueness_criteria": UniquenessCriteria()})


@pytest.mark.parametrize("name", ["max_attemps", "max_atempts", "max_concurency", "uniqueness_criterias"])
def test_a_misspelt_setting_is_refused_where_it_is_written(name: str) -> None:
    with pytest.raises(DefinitionError, match=f"{name} is no setting; (max|uniqueness)_"):
        type("Misspelt", (Mail,), {name: 1})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("queue", "slow", "there are no queues; a Rexecutor runs the executors that it is given"),
        ("max_retries", 3, "set max_attempts, which counts the first attempt too"),
        ("retry_backoff", True, r"define `def backoff\(self, job\)`"),
        ("autoretry_for", (OSError,), r"return Cancel\(reason\) to give a job up"),
        ("time_limit", 30, r"define `def timeout\(self, job\)`"),
        ("rate_limit", "10/m", "max_concurrency limits"),
        ("concurrency", 5, "set max_concurrency"),
        ("countdown", timedelta(seconds=5), r"builder\(\)\.schedule_in"),
        ("expires", None, "jobs do not expire"),
        ("cron", "0 0 * * *", "with_cron_executor"),
        ("unique", True, "set uniqueness_criteria"),
        ("tags", ["a"], r"builder\(\)\.with_tags"),
    ],
)
def test_a_setting_of_another_library_is_refused_with_the_name_of_ours(name: str, value: object, message: str) -> None:
    with pytest.raises(DefinitionError, match=f"Foreign: {name} is no setting: .*{message}.*name it _{name}"):
        type("Foreign", (Mail,), {name: value})


def test_a_setting_of_another_library_is_found_in_a_base_of_ones_own() -> None:
    class Base(Executor[T]):
        queue = "slow"

    with pytest.raises(DefinitionError, match="queue is no setting"):

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


@pytest.mark.parametrize("job_id", ["1", None, True, 1.0])
async def test_an_id_is_a_whole_number_on_every_backend(backend: Backend, job_id: Any) -> None:
    await Mail.builder().with_data("a").enqueue(backend=backend)

    with pytest.raises(ConfigurationError, match="is no id of a job"):
        await Mail.cancel_job(job_id, "enough", backend=backend)
    with pytest.raises(ConfigurationError, match="is no id of a job"):
        await Mail.rerun_job(job_id, backend=backend)


async def test_another_executors_job_is_not_found_whatever_its_data_are(backend: Backend) -> None:
    handle = await Mail.builder().with_data("a").enqueue(backend=backend)
    job: Any = await handle.fetch()

    with pytest.raises(JobNotFoundError, match=f"job {job.id}: is of mail, not of count"):
        await Count.update_job(job, backend=backend)


def test_a_zone_is_checked_beside_an_id() -> None:
    with pytest.raises(ConfigurationError, match=r"with_cron_executor\(mail\): timezone"):
        Rexecutor(InMemoryBackend()).with_cron_executor(Mail, "* * * * *", "a", id="x", timezone=7)  # pyright: ignore[reportArgumentType]


def test_tags_of_a_schedule_are_several_texts() -> None:
    with pytest.raises(ConfigurationError, match="tags='nightly'"):
        Rexecutor(InMemoryBackend()).with_cron_executor(Mail, "* * * * *", "a", tags="nightly")


def test_the_concurrency_of_a_pruner_is_checked_however_it_is_given() -> None:
    with pytest.raises(ConfigurationError, match="max_concurrency is -1"):
        PrunerConfig("* * * * *", max_concurrency=-1)


async def test_a_cancelled_run_until_signal_has_shut_down_what_it_started() -> None:
    rexecutor = Rexecutor(InMemoryBackend()).with_executor(Mail)
    running = asyncio.ensure_future(rexecutor.run_until_signal())
    await until(lambda: rexecutor.is_running)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(running)

    assert not rexecutor.is_running
