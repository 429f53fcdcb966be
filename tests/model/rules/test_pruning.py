"""What is in `rules.pruning` and in `PruneSpec`, and not already in the suite."""

from datetime import timedelta

import pytest

from rexecutor.model import rules
from rexecutor.model.job import JobRecord
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.status import ENDED, OPEN, JobStatus
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import MICROSECOND, SECOND
from tests.model.records import record_in, scheduled

COMPLETE = JobStatus.COMPLETE


def done(job_id: int, *, ago: int = 0, executor: str = "alpha") -> JobRecord:
    return record_in(COMPLETE, id=job_id, completed_at=START - ago * SECOND, executor=executor)


def doomed(spec: PruneSpec, *records: JobRecord) -> list[int]:
    return [record.id for record in rules.prunable(spec, records, START)]


def test_age_counts_from_the_end_and_the_age_itself_is_not_beyond_it() -> None:
    jobs = [done(1, ago=3), done(2, ago=2), done(3, ago=1)]

    assert doomed(PruneSpec(COMPLETE, OlderThan(2 * SECOND)), *jobs) == [1]
    assert doomed(PruneSpec(COMPLETE, OlderThan(2 * SECOND - MICROSECOND)), *jobs) == [1, 2]


@pytest.mark.parametrize("status", sorted(ENDED))
def test_each_end_has_its_moment(status: JobStatus) -> None:
    record = record_in(status)

    assert doomed(PruneSpec(status, OlderThan(-SECOND)), record) == [1]
    assert doomed(PruneSpec(status, BeyondNewest(0)), record) == [1]


@pytest.mark.parametrize("status", sorted(OPEN))
def test_an_open_job_is_never_prunable(status: JobStatus) -> None:
    odd = record_in(status, completed_at=START - SECOND)  # as somebody may have written it by hand

    assert doomed(PruneSpec(status, OlderThan(timedelta(0))), odd) == []
    assert doomed(PruneSpec(status, BeyondNewest(0)), odd, scheduled(id=2)) == []


def test_the_longest_ended_come_first_then_the_first_enqueued() -> None:
    jobs = [done(4, ago=1), done(3, ago=2, executor="beta"), done(2, ago=1), done(1, ago=9, executor="gamma")]

    assert doomed(PruneSpec(COMPLETE, OlderThan(timedelta(0))), *jobs) == [1, 3, 2, 4]
    assert doomed(PruneSpec(COMPLETE, BeyondNewest(0)), *jobs) == [1, 3, 2, 4]


def test_so_many_are_kept_of_each_executor() -> None:
    jobs = [done(number, ago=10 - number) for number in range(5)] + [done(9, ago=99, executor="beta")]

    for kept, expected in ((0, [9, 0, 1, 2, 3, 4]), (1, [0, 1, 2, 3]), (4, [0]), (5, []), (6, [])):
        assert doomed(PruneSpec(COMPLETE, BeyondNewest(kept)), *jobs) == expected


def test_an_age_beyond_the_calendar_dooms_nothing() -> None:
    assert doomed(PruneSpec(COMPLETE, OlderThan(timedelta(days=999_999_999))), done(1, ago=99)) == []


def test_whose_jobs_a_spec_concerns() -> None:
    everybody = PruneSpec(COMPLETE, BeyondNewest(0))
    some = frozenset({"alpha"})

    assert everybody.concerns("alpha")
    assert not PruneSpec(COMPLETE, BeyondNewest(0), is_except=False).concerns("alpha")
    assert PruneSpec(COMPLETE, BeyondNewest(0), some, is_except=False).concerns("alpha")
    assert not PruneSpec(COMPLETE, BeyondNewest(0), some, is_except=False).concerns("beta")
    assert not PruneSpec(COMPLETE, BeyondNewest(0), some).concerns("alpha")
    assert PruneSpec(COMPLETE, BeyondNewest(0), some).concerns("beta")
