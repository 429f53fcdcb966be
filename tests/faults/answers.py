"""Results that can be checked: what a run returns can be computed anew from its job, and tells which claim made it."""

import hashlib
from collections.abc import Mapping

import msgspec

from rexecutor.backend.base import Backend
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Everything
from tests.faults.scenario import Report


class Answer(msgspec.Struct, frozen=True):
    """What one run of a job returns."""

    digest: str
    claims: int


def answer(job_id: JobId, executor: str, claims: int) -> Answer:
    """Return what the job returns when it runs under this claim."""
    return Answer(hashlib.sha256(f"{job_id} of {executor}".encode()).hexdigest(), claims)


async def count_answers(report: Report, backend: Backend) -> Mapping[JobId, Answer]:
    """Compare all stored results with a direct computation, and return them.

    A complete job must have the result of its last claim: that of an earlier one came too late, or was lost.
    """
    found: dict[JobId, Answer] = {}
    complete = wrong = 0
    after: JobId | None = None
    while page := await backend.query(Everything(), limit=10_000, after=after):
        for record in page:
            complete += record.status is JobStatus.COMPLETE
            if record.result is not None:
                found[record.id] = msgspec.json.decode(record.result, type=Answer)
                wrong += found[record.id] != _right(record)
        after = page[-1].id
    report.figures |= {"results": len(found), "wrong_results": wrong}
    report.expect(f"{len(found)} results, {complete} expected", len(found) == complete)
    report.expect(f"{wrong} wrong results", wrong == 0)
    return found


def _right(record: JobRecord) -> Answer | None:
    """Return the result that a job must have."""
    return answer(record.id, record.executor, record.claims) if record.status is JobStatus.COMPLETE else None
