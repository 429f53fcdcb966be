"""What `Backend` does by itself for a store that has only what a backend must have."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rexecutor.backend import (
    PAGE,
    Backend,
    CancelAsked,
    FieldUpdate,
    Finding,
    InMemoryBackend,
    JobId,
    JobStateError,
    JobStatus,
    Rerun,
    SchemaError,
    Severity,
    Where,
)
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.many import ManyCases
from rexecutor.testing.suite.query import QueryCases
from rexecutor.testing.suite.store import new_job


class Plain(InMemoryBackend):
    """Has no changes of many jobs and no queries of ids of its own."""

    async def apply_many(
        self, ids: Collection[JobId], change: CancelAsked | Rerun | FieldUpdate, *, where: Where | None = None
    ) -> Mapping[JobId, JobStatus]:
        return await Backend.apply_many(self, ids, change, where=where)

    async def query_ids(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobId]:
        return await Backend.query_ids(self, where, limit=limit, after=after, newest=newest)

    async def diagnose(self) -> Sequence[Finding]:
        return await Backend.diagnose(self)


class TestPlain(ManyCases, QueryCases):
    def open_backend(self, clock: FakeClock, store: Path) -> Plain:
        return Plain(clock=clock)


class Racing(Plain):
    """Somebody else changes each job just before."""

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        raise JobStateError("it has ended meanwhile")


async def test_a_job_that_has_changed_meanwhile_is_left_out() -> None:
    backend = Racing()
    [job] = await backend.enqueue([new_job()])

    assert await backend.cancel_many([job.id], "enough") == {}


class Foreign(Plain):
    async def check_schema(self) -> None:
        raise SchemaError("version 99")


async def test_by_default_a_diagnosis_is_about_the_schema() -> None:
    assert [(one.subject, one.severity) for one in await Plain().diagnose()] == [("schema", Severity.OK)]
    assert await Foreign().diagnose() == (Finding("schema", Severity.PROBLEM, "version 99", None),)
