"""`assert_enqueued` and `refute_enqueued`: what they find, and what they say when they do not."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from rexecutor import (
    Backend,
    ConfigurationError,
    EncodeError,
    GlobalBackendError,
    InMemoryBackend,
    PostgresBackend,
    Rexecutor,
    SQLiteBackend,
    enqueue_many,
    override_global_backend,
)
from rexecutor.model.job import NewJob
from rexecutor.testing import (
    FakeClock,
    assert_enqueued,
    assert_enqueued_sync,
    checks,
    refute_enqueued,
    refute_enqueued_sync,
)
from tests.testing.executors import (
    ChargeOrder,
    DecliningGateway,
    EmailJob,
    Nightly,
    Order,
    enqueue_email,
    enqueue_raw,
    remind,
)

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


async def failure_of(**asked: Any) -> str:
    """Return what a failing `assert_enqueued` says."""
    count = asked.pop("count", None)
    with pytest.raises(AssertionError) as caught:
        await assert_enqueued(count, **asked)
    return str(caught.value)


async def test_a_reminder_goes_out_in_three_hours() -> None:  # as in the specification of the API
    backend = InMemoryBackend().paused()
    with override_global_backend(backend):
        await remind()
    now = datetime.now(UTC)  # noqa: TID251 - as an application's test does

    await assert_enqueued(
        1,
        for_executor=EmailJob,
        with_data="bob.shuruncle@example.com",
        backend=backend,
        scheduled_after=now + timedelta(minutes=170),
        scheduled_before=now + timedelta(minutes=190),
    )


async def test_the_jobs_are_answered_with_their_types_in_the_order_of_their_ids(backend: Backend) -> None:
    await enqueue_email(backend, "alice")
    await ChargeOrder.builder().with_data(Order(7, 1_999)).enqueue(backend=backend)
    await enqueue_email(backend, "bob")

    emails = await assert_enqueued(2, for_executor=EmailJob, backend=backend)
    (order,) = await assert_enqueued(for_executor=ChargeOrder(DecliningGateway()), backend=backend)
    everything = await assert_enqueued(3, backend=backend)

    assert [job.data for job in emails] == ["alice", "bob"]
    assert order.data == Order(7, 1_999)
    assert everything[1].data == {"id": 7, "total_cents": 1_999}


async def test_jobs_of_any_status_count(backend: Backend) -> None:
    job_id = await enqueue_email(backend, "bob")
    await EmailJob.cancel_job(job_id, "no longer wanted", backend=backend)

    await assert_enqueued(1, for_executor=EmailJob, backend=backend)


async def test_without_a_count_one_is_enough_and_more_are_too(backend: Backend) -> None:
    await enqueue_email(backend, "bob")
    await assert_enqueued(for_executor=EmailJob, backend=backend)
    await enqueue_email(backend, "bob")

    assert len(await assert_enqueued(for_executor=EmailJob, backend=backend)) == 2


async def test_a_count_of_zero_is_that_of_no_job(backend: Backend) -> None:
    assert await assert_enqueued(0, for_executor=EmailJob, backend=backend) == []

    await enqueue_email(backend, "bob")

    assert "0 jobs expected, 1 found" in await failure_of(count=0, for_executor=EmailJob, backend=backend)


async def test_each_criterion_counts(backend: Backend, clock: FakeClock) -> None:
    due = clock.now() + HOUR
    builder = EmailJob.builder().with_data("bob").with_metadata({"run": 1}).with_tags("a", "b", "c").schedule_at(due)
    await builder.enqueue(backend=backend)
    met: dict[str, Any] = {
        "with_data": "bob",
        "with_metadata": {"run": 1.0},
        "tagged_with": {"c", "a"},
        "scheduled_at": due,
        "scheduled_after": due - MINUTE,
        "scheduled_before": due + MINUTE,
    }
    missed: dict[str, Any] = {
        "with_data": "Bob",
        "with_metadata": None,
        "tagged_with": ["a", "d"],
        "scheduled_at": due + timedelta(microseconds=1),
        "scheduled_after": due,
        "scheduled_before": due,
    }

    await assert_enqueued(1, for_executor=EmailJob, backend=backend, **met)

    for name, value in missed.items():
        await refute_enqueued(for_executor=EmailJob, backend=backend, **(met | {name: value}))


async def test_no_metadata_can_be_asked_for(backend: Backend) -> None:
    await enqueue_email(backend, "bob")

    await assert_enqueued(1, for_executor=EmailJob, with_metadata=None, backend=backend)


async def test_data_of_none_can_be_asked_for(backend: Backend) -> None:
    await Nightly.builder().enqueue(backend=backend)

    await assert_enqueued(1, for_executor=Nightly, with_data=None, backend=backend)


async def test_the_global_backend_is_asked_where_none_is_given(backend: Backend) -> None:
    with override_global_backend(backend):
        await remind()

        await assert_enqueued(1, for_executor=EmailJob)

    with pytest.raises(GlobalBackendError):
        await assert_enqueued(1, for_executor=EmailJob)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scheduled_at": datetime(2026, 1, 1)}, "scheduled_at must be an aware datetime"),  # noqa: DTZ001
        ({"scheduled_after": 5}, "scheduled_after must be an aware datetime, .* not 5"),
        ({"scheduled_before": MINUTE}, "scheduled_before must be an aware datetime"),
        ({"tagged_with": "reminder"}, r"tagged_with must be a collection of str, not 'reminder'; write \['reminder'\]"),
        ({"tagged_with": ["reminder", 5]}, "tagged_with: each tag must be a str, not 5"),
        ({"tagged_with": 5}, "tagged_with must be a collection of str, not 5"),
        (
            {"for_executor": "email_job"},
            "for_executor must be an Executor class or an instance of one, not 'email_job'",
        ),
        ({"for_executor": int}, "for_executor must be .* not <class 'int'>"),
        ({"count": -1}, "count must be .* not -1"),
        ({"count": True}, "count must be .* not True"),
        ({"count": EmailJob}, "count must be .* not <class"),
        ({"backend": "memory:"}, "must be a Backend"),
    ],
)
async def test_an_argument_that_cannot_work_is_an_error(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"for_executor": EmailJob, "backend": InMemoryBackend(), "count": 1} | arguments
    count = given.pop("count")

    with pytest.raises(ConfigurationError, match=message):
        await assert_enqueued(count, **given)


@pytest.mark.parametrize("check", [assert_enqueued, refute_enqueued])
async def test_data_of_another_type_is_an_error_and_no_mere_mismatch(check: Any) -> None:
    with pytest.raises(EncodeError, match="email_job: data: str expected, int given"):
        await check(for_executor=EmailJob, with_data=42, backend=InMemoryBackend())
    with pytest.raises(EncodeError, match="email_job: metadata"):
        await check(for_executor=EmailJob, with_metadata="x", backend=InMemoryBackend())


NOTHING_NEAR = """\
assert_enqueued: 1 job expected, 0 found
  of email_job
  with data "bob"
  tagged with "reminder", "daily"
  scheduled after 2026-01-01 02:50:00 UTC
  scheduled before 2026-01-01 03:10:00 UTC
nearest among 3 of email_job:
  job 2, scheduled:
    scheduled at: 2026-01-01 03:20:00 UTC, 0:10:00 too late
  job 3, scheduled:
    data: "alice", expected "bob"
    tags: "reminder"; "daily" expected too
  job 1, cancelled:
    data: "carol", expected "bob"
    tags: none; "reminder", "daily" expected too
    scheduled at: 2026-01-01 00:00:00 UTC, 2:50:00 too early"""


async def test_a_failure_shows_the_nearest_jobs_and_what_differs(backend: Backend, clock: FakeClock) -> None:
    await enqueue_email(backend, "carol")
    await EmailJob.cancel_job(1, "no longer wanted", backend=backend)
    await enqueue_email(backend, "bob", "daily", "reminder", delay=timedelta(minutes=200))
    await enqueue_email(backend, "alice", "reminder", delay=timedelta(minutes=180))
    await Nightly.builder().enqueue(backend=backend)

    failure = await failure_of(
        count=1,
        for_executor=EmailJob,
        with_data="bob",
        tagged_with=["reminder", "daily"],
        scheduled_after=clock.now() + timedelta(minutes=170),
        scheduled_before=clock.now() + timedelta(minutes=190),
        backend=backend,
    )

    assert failure == NOTHING_NEAR


TOO_MANY = """\
assert_enqueued: 2 jobs expected, 7 found
  of email_job
  without metadata
found:
  job 1 of email_job, scheduled, scheduled at 2026-01-01 00:00:00 UTC
    data "bob 0"
    tags "a", "b"
  job 2 of email_job, scheduled, scheduled at 2026-01-01 00:00:00 UTC
    data "bob 1"
    tags "a", "b"
  job 3 of email_job, scheduled, scheduled at 2026-01-01 00:00:00 UTC
    data "bob 2"
    tags "a", "b"
  job 4 of email_job, scheduled, scheduled at 2026-01-01 00:00:00 UTC
    data "bob 3"
    tags "a", "b"
  job 5 of email_job, scheduled, scheduled at 2026-01-01 00:00:00 UTC
    data "bob 4"
    tags "a", "b"
  … and 2 more"""


async def test_a_failure_for_too_many_shows_those_that_are_there(backend: Backend) -> None:
    for number in range(7):
        await enqueue_email(backend, f"bob {number}", "a", "b")

    assert await failure_of(count=2, for_executor=EmailJob, with_metadata=None, backend=backend) == TOO_MANY


TOO_FEW = """\
assert_enqueued: 2 jobs expected, 1 found
  of charge_order
  with data {"id":7,"total_cents":1999}
  scheduled at 2026-01-01 00:00:00 UTC
found:
  job 1 of charge_order, scheduled, scheduled at 2026-01-01 00:00:00 UTC
    data {"id":7,"total_cents":1999}
nearest among 2 of charge_order:
  job 2, scheduled:
    data.total_cents: 2999, expected 1999
    scheduled at: 2026-01-01 01:00:00 UTC, 1:00:00 later than expected"""


async def test_a_failure_for_too_few_shows_both(backend: Backend, clock: FakeClock) -> None:
    await ChargeOrder.builder().with_data(Order(7, 1_999)).enqueue(backend=backend)
    await ChargeOrder.builder().with_data(Order(7, 2_999)).schedule_in(HOUR).enqueue(backend=backend)

    failure = await failure_of(
        count=2, for_executor=ChargeOrder, with_data=Order(7, 1_999), scheduled_at=clock.now(), backend=backend
    )

    assert failure == TOO_FEW


NONE_OF_IT = """\
assert_enqueued: at least 1 job expected, 0 found
  of email_job
there are no jobs at all of email_job; there are 4 of others: charge_order (3), nightly (1)"""


async def test_a_failure_without_a_job_of_the_executor_says_of_whom_there_are_some(backend: Backend) -> None:
    await Nightly.builder().enqueue(backend=backend)
    await enqueue_many([ChargeOrder.builder().with_data(Order(n, 1)) for n in range(3)], backend=backend)

    assert await failure_of(for_executor=EmailJob, backend=backend) == NONE_OF_IT


async def test_a_failure_on_an_empty_store_says_so(backend: Backend) -> None:
    failure = await failure_of(backend=backend)

    assert failure == "assert_enqueued: at least 1 job expected, 0 found\n  of any executor\nthere are no jobs at all"


async def test_a_bound_does_not_count_and_the_failure_says_so(backend: Backend, clock: FakeClock) -> None:
    await enqueue_email(backend, "bob")

    failure = await failure_of(
        for_executor=EmailJob, scheduled_after=clock.now(), scheduled_before=clock.now(), backend=backend
    )

    assert failure.count("exactly the bound, which does not count") == 2


async def test_metadata_that_differ_are_shown(backend: Backend) -> None:
    await EmailJob.builder().with_data("bob").with_metadata({"run": 1}).enqueue(backend=backend)

    some = await failure_of(for_executor=EmailJob, with_metadata={"run": 2}, backend=backend)
    none = await failure_of(for_executor=EmailJob, with_metadata=None, backend=backend)

    assert '  with metadata {"run":2.0}' in some
    assert "    metadata.run: 1.0, expected 2.0" in some
    assert '    metadata: {"run":1.0}, expected null' in none


async def test_an_earlier_moment_is_told_by_its_distance(backend: Backend, clock: FakeClock) -> None:
    await enqueue_email(backend, "bob")

    failure = await failure_of(for_executor=EmailJob, scheduled_at=clock.now() + HOUR, backend=backend)

    assert "1:00:00 earlier than expected" in failure


async def test_the_newest_come_first_among_those_that_are_equally_near(backend: Backend) -> None:
    for number in range(9):
        await enqueue_email(backend, f"bob {number}")

    failure = await failure_of(for_executor=EmailJob, with_data="bob", backend=backend)

    assert [line.split()[1] for line in failure.splitlines() if line.startswith("  job")] == [
        "9,",
        "8,",
        "7,",
        "6,",
        "5,",
    ]


async def test_large_data_are_shortened(backend: Backend) -> None:
    await enqueue_email(backend, "x" * 100_000)

    failure = await failure_of(for_executor=EmailJob, with_data="y" * 100_000, backend=backend)

    assert len(failure) < 2_000
    assert "(100,002 characters)" in failure


async def test_what_cannot_be_decoded_does_not_count_and_is_named(backend: Backend) -> None:
    await enqueue_raw(backend, "email_job", "42")
    await enqueue_email(backend, "bob")

    await assert_enqueued(1, for_executor=EmailJob, backend=backend)
    failure = await failure_of(count=2, for_executor=EmailJob, backend=backend)

    assert "2 jobs expected, 1 found" in failure
    assert "job 1 cannot be read: email_job: data: str expected" in failure


async def test_what_cannot_be_decoded_is_there_for_a_refutation(backend: Backend) -> None:
    await enqueue_raw(backend, "email_job", "42")

    with pytest.raises(AssertionError, match="no job expected, 1 found"):
        await refute_enqueued(for_executor=EmailJob, backend=backend)


async def test_a_corrupt_row_is_shown_for_what_it_is(tmp_path: Any, clock: FakeClock) -> None:
    import sqlite3

    from rexecutor import SQLiteBackend

    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        await enqueue_email(backend, "bob")
        with sqlite3.connect(tmp_path / "jobs.db") as connection:
            connection.execute("UPDATE rexecutor_stored_jobs SET errors = 'no JSON'")
        connection.close()

        missed = await failure_of(for_executor=EmailJob, with_data="alice", backend=backend)
        unreadable = await failure_of(for_executor=EmailJob, with_data="bob", backend=backend)

    assert "    the stored row cannot be read" in missed
    assert "job 1 cannot be read: email_job: the stored row cannot be read" in unreadable


REFUTED = """\
refute_enqueued: no job expected, 1 found
  of email_job
  tagged with "a"
found:
  job 1 of email_job, scheduled, scheduled at 2026-01-01 01:00:00 UTC
    data "bob"
    metadata {"run":1.0}
    tags "a\""""


async def test_a_refutation_that_fails_shows_the_jobs(backend: Backend) -> None:
    builder = EmailJob.builder().with_data("bob").with_metadata({"run": 1}).with_tags("a").schedule_in(HOUR)
    await builder.enqueue(backend=backend)
    await refute_enqueued(for_executor=EmailJob, tagged_with=["b"], backend=backend)
    await refute_enqueued(for_executor=Nightly, backend=backend)

    with pytest.raises(AssertionError) as caught:
        await refute_enqueued(for_executor=EmailJob, tagged_with=["a"], backend=backend)

    assert str(caught.value) == REFUTED


async def test_more_jobs_than_a_page_are_all_found(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PAGE", 2)
    monkeypatch.setattr(checks, "CANDIDATES", 3)
    for number in range(7):
        await enqueue_email(backend, f"bob {number}", "a")

    assert len(await assert_enqueued(7, for_executor=EmailJob, backend=backend)) == 7
    with pytest.raises(AssertionError, match="7 found"):
        await refute_enqueued(for_executor=EmailJob, backend=backend)
    failure = await failure_of(for_executor=EmailJob, with_data="bob", backend=backend)
    assert "nearest among the newest 3 of 7 of email_job" in failure
    assert "job 7" in failure
    assert "job 4" not in failure


async def test_a_hundred_thousand_jobs_are_searched(backend: Backend) -> None:
    jobs = [
        NewJob("email_job", f'"bob {n}"', None, 5, 0, ("even",) * (n % 2 == 0), None, timedelta(0))
        for n in range(100_000)
    ]
    await backend.enqueue(jobs)

    (job,) = await assert_enqueued(1, for_executor=EmailJob, with_data="bob 99000", backend=backend)
    failure = await failure_of(count=1, for_executor=EmailJob, with_data="bob", tagged_with=["even"], backend=backend)

    assert job.id == 99_001
    assert "the newest 5,000 of 100,000 of email_job" in failure


async def test_a_worker_may_have_run_them_already(clock: FakeClock) -> None:
    backend = InMemoryBackend(clock=clock)
    async with Rexecutor(backend).with_executor(EmailJob):
        handle = await EmailJob.builder().with_data("bob").enqueue(backend=backend)
        await handle.wait()

    (job,) = await assert_enqueued(1, for_executor=EmailJob, with_data="bob", backend=backend)
    assert job.status.has_ended


class TestWithoutALoop:
    def test_a_store_in_memory_is_looked_at(self) -> None:
        backend = InMemoryBackend().paused()
        handle = EmailJob.builder().with_data("bob").with_tags("reminder").enqueue_sync(backend=backend)

        [job] = assert_enqueued_sync(1, for_executor=EmailJob, with_data="bob", backend=backend)
        assert job.id == handle.id
        refute_enqueued_sync(for_executor=ChargeOrder, backend=backend)
        with pytest.raises(AssertionError, match="assert_enqueued_sync: 2 jobs expected, 1 found"):
            assert_enqueued_sync(2, backend=backend)
        with pytest.raises(AssertionError, match="refute_enqueued_sync: no job expected, 1 found"):
            refute_enqueued_sync(tagged_with=["reminder"], backend=backend)

    async def test_it_works_within_one_too(self) -> None:
        with override_global_backend(InMemoryBackend()) as backend:
            await enqueue_email(backend, "bob")

            assert_enqueued_sync(1, for_executor=EmailJob)

    async def test_any_backend_is_looked_at(self, backend: Backend) -> None:
        await enqueue_email(backend, "bob")

        [job] = await asyncio.to_thread(assert_enqueued_sync, 1, for_executor=EmailJob, backend=backend)
        assert job.data == "bob"
        with pytest.raises(AssertionError, match="no job expected, 1 found"):
            await asyncio.to_thread(refute_enqueued_sync, for_executor=EmailJob, backend=backend)

    def test_a_backend_that_is_not_open_is_looked_at_too(self, tmp_path: Path) -> None:
        backend = SQLiteBackend(tmp_path / "jobs.db")
        EmailJob.builder().with_data("bob").enqueue_sync(backend=backend)

        assert_enqueued_sync(1, for_executor=EmailJob, backend=backend)
        refute_enqueued_sync(for_executor=ChargeOrder, backend=backend)

    @pytest.mark.parametrize("count", [-1, True, "1"])
    def test_a_count_that_cannot_work_is_refused(self, count: Any) -> None:
        with pytest.raises(ConfigurationError, match="assert_enqueued_sync: count must be"):
            assert_enqueued_sync(count, backend=InMemoryBackend())


class TestTheWrongKindOfConnection:
    POSTGRES = PostgresBackend("postgresql://nobody@nowhere/none")

    async def test_one_that_blocks_names_the_twin(self) -> None:
        with Session() as session:
            bound: Any = self.POSTGRES.bound_to(session)
            with pytest.raises(
                ConfigurationError, match=r"assert_enqueued: .* is synchronous; call assert_enqueued_sync"
            ):
                await assert_enqueued(backend=bound)
            with pytest.raises(
                ConfigurationError, match=r"refute_enqueued: .* is synchronous; call refute_enqueued_sync"
            ):
                await refute_enqueued(backend=bound)

    async def test_one_that_is_awaited_names_the_twin(self) -> None:
        async with AsyncSession() as session:
            bound: Any = self.POSTGRES.bound_to(session)
            with pytest.raises(ConfigurationError, match="must be awaited; call `await assert_enqueued`"):
                assert_enqueued_sync(backend=bound)
            with pytest.raises(ConfigurationError, match="must be awaited; call `await refute_enqueued`"):
                refute_enqueued_sync(backend=bound)
