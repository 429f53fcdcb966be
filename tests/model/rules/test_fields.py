"""What each change of a job writes, field by field: all that is not named here stays as it was."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from rexecutor.errors import JobStateError
from rexecutor.model import rules
from rexecutor.model.job import ErrorKind, JobError, JobRecord, Limits
from rexecutor.model.outcomes import (
    CancelAsked,
    Cancelled,
    Change,
    Claimed,
    Complete,
    Discarded,
    Expired,
    Failed,
    Interrupted,
    Lost,
    Rerun,
    Snooze,
)
from rexecutor.model.status import JobStatus
from rexecutor.testing.clock import START
from rexecutor.testing.suite.store import new_job

HOUR = timedelta(hours=1)
NOW = START + HOUR
LIMITS = Limits()


def error(attempt: int, kind: ErrorKind, type_name: str, details: str) -> JobError:
    return JobError(attempt, kind, type_name, details, NOW)


OLD = JobError(1, ErrorKind.EXCEPTION, "ValueError", "before", START)
BOOM = error(2, ErrorKind.TIMEOUT, "TimeoutError", "too slow")
LOST = JobError(2, ErrorKind.LOST, "NodeLost", rules.LOST_DETAILS, NOW, node="node-1")


def reason(attempt: int) -> JobError:
    return error(attempt, ErrorKind.CANCELLED, "Cancel", "enough")


def expiry(attempt: int) -> JobError:
    return error(attempt, ErrorKind.EXPIRED, "Expired", rules.EXPIRED_DETAILS)


WAITING = replace(
    rules.inserted(new_job(max_attempts=3), 7, START),
    attempt=1,
    claims=4,
    snoozes=2,
    losses=1,
    revision=5,
    errors=(OLD,),
    attempted_at=START,
)
EXECUTING = replace(WAITING, status=JobStatus.EXECUTING, attempt=2, claims=5, node="node-1")
ASKED = replace(EXECUTING, cancel_reason="enough")
EXPIRED = replace(
    rules.inserted(new_job(), 7, START), claims=1, revision=1, errors=(OLD,), expires_at=NOW, attempted_at=START
)
LAST = replace(EXECUTING, max_attempts=2)
FREE = {"node": None, "revision": 6}
ENDED_BY_CANCEL = {"status": JobStatus.CANCELLED, "cancelled_at": NOW, "cancel_reason": None, **FREE}
SNOOZED = {"attempt": 1, "snoozes": 3, "scheduled_at": NOW + HOUR}
AGAIN = {"status": JobStatus.SCHEDULED, "losses": 0, "revision": 6, "scheduled_at": NOW}

CASES: list[tuple[str, JobRecord, Change, dict[str, Any]]] = [
    (
        "a claim",
        WAITING,
        Claimed("node-2"),
        {"status": JobStatus.EXECUTING, "attempt": 2, "claims": 5, "node": "node-2", "attempted_at": NOW},
    ),
    ("a success", EXECUTING, Complete(), {"status": JobStatus.COMPLETE, "node": None, "completed_at": NOW}),
    (
        "a success that a cancel did not reach",
        ASKED,
        Complete(),
        {"status": JobStatus.COMPLETE, "node": None, "completed_at": NOW, "cancel_reason": None},
    ),
    (
        "a success with a result",
        replace(EXECUTING, expires_at=START),
        Complete('{"n": 1}'),
        {"status": JobStatus.COMPLETE, "node": None, "completed_at": NOW, "result": '{"n": 1}'},
    ),
    (
        "a failure that is not to be retried",
        EXECUTING,
        Discarded(BOOM),
        {"status": JobStatus.DISCARDED, "discarded_at": NOW, "errors": (OLD, BOOM), **FREE},
    ),
    (
        "a failure of a cancelled job that is not to be retried",
        ASKED,
        Discarded(BOOM),
        {"errors": (OLD, BOOM, reason(2)), **ENDED_BY_CANCEL},
    ),
    (
        "an expiry of a waiting job",
        EXPIRED,
        Expired(),
        {"status": JobStatus.CANCELLED, "cancelled_at": NOW, "errors": (OLD, expiry(0))},
    ),
    (
        "an expiry of a claimed job",
        EXECUTING,
        Expired(),
        {"attempt": 1, "errors": (OLD, expiry(1)), **ENDED_BY_CANCEL},
    ),
    (
        "an expiry of a claimed job whose cancel was requested",
        ASKED,
        Expired(),
        {"attempt": 1, "errors": (OLD, expiry(1)), **ENDED_BY_CANCEL},
    ),
    (
        "a cancel by the executor",
        EXECUTING,
        Cancelled(BOOM),
        {"status": JobStatus.CANCELLED, "cancelled_at": NOW, "errors": (OLD, BOOM), **FREE},
    ),
    ("a snooze", EXECUTING, Snooze(HOUR), {"status": JobStatus.SCHEDULED, **SNOOZED, **FREE}),
    ("a snooze of a cancelled job", ASKED, Snooze(HOUR), {"errors": (OLD, reason(1)), **SNOOZED, **ENDED_BY_CANCEL}),
    ("an interruption", EXECUTING, Interrupted(), {"status": JobStatus.SCHEDULED, "attempt": 1, **FREE}),
    (
        "an interruption of a cancelled job",
        ASKED,
        Interrupted(),
        {"attempt": 1, "errors": (OLD, reason(1)), **ENDED_BY_CANCEL},
    ),
    (
        "a failure",
        EXECUTING,
        Failed(BOOM, HOUR),
        {"status": JobStatus.RETRYABLE, "scheduled_at": NOW + HOUR, "errors": (OLD, BOOM), **FREE},
    ),
    (
        "a failure of the last attempt",
        LAST,
        Failed(BOOM, HOUR),
        {"status": JobStatus.DISCARDED, "discarded_at": NOW, "errors": (OLD, BOOM), **FREE},
    ),
    (
        "a failure of a cancelled job",
        ASKED,
        Failed(BOOM, HOUR),
        {"scheduled_at": NOW + HOUR, "errors": (OLD, BOOM, reason(2)), **ENDED_BY_CANCEL},
    ),
    (
        "a loss",
        replace(EXECUTING, losses=0),
        Lost(),
        {"status": JobStatus.RETRYABLE, "losses": 1, "errors": (OLD, LOST), **FREE},
    ),
    (
        "a loss after the clock was set back",
        replace(EXECUTING, losses=0, scheduled_at=NOW + HOUR),
        Lost(),
        {"status": JobStatus.RETRYABLE, "scheduled_at": NOW, "losses": 1, "errors": (OLD, LOST), **FREE},
    ),
    (
        "a second loss",
        EXECUTING,
        Lost(),
        {
            "status": JobStatus.RETRYABLE,
            "scheduled_at": NOW + rules.rescue_delay(EXECUTING.id),
            "losses": 2,
            "errors": (OLD, LOST),
            **FREE,
        },
    ),
    (
        "a loss of the last attempt",
        LAST,
        Lost(),
        {"status": JobStatus.DISCARDED, "discarded_at": NOW, "losses": 2, "errors": (OLD, LOST), **FREE},
    ),
    (
        "the third loss",
        replace(EXECUTING, losses=2),
        Lost(),
        {"status": JobStatus.DISCARDED, "discarded_at": NOW, "losses": 3, "errors": (OLD, LOST), **FREE},
    ),
    ("a loss of a cancelled job", ASKED, Lost(), {"losses": 2, "errors": (OLD, LOST, reason(2)), **ENDED_BY_CANCEL}),
    (
        "a cancel of a waiting job",
        WAITING,
        CancelAsked("enough"),
        {"status": JobStatus.CANCELLED, "cancelled_at": NOW, "errors": (OLD, reason(1))},
    ),
    ("a cancel of a running job", EXECUTING, CancelAsked("enough"), {"cancel_reason": "enough", "revision": 6}),
    ("a second cancel", ASKED, CancelAsked("once more"), {}),
    *(
        (
            f"a rerun of a job that is {status}",
            replace(WAITING, status=status, **{f"{'completed' if status == 'complete' else status}_at": START}),
            Rerun(),
            {f"{'completed' if status == 'complete' else status}_at": None, **AGAIN},
        )
        for status in (JobStatus.COMPLETE, JobStatus.CANCELLED, JobStatus.DISCARDED)
    ),
    (
        "a rerun of a job with a result and an expiry",
        replace(WAITING, status=JobStatus.COMPLETE, completed_at=START, result="7", expires_at=NOW),
        Rerun(),
        {"completed_at": None, "result": None, "expires_at": None, **AGAIN},
    ),
    (
        "a rerun of a job without attempts left",
        replace(WAITING, status=JobStatus.DISCARDED, attempt=3, discarded_at=START),
        Rerun(),
        {"discarded_at": None, "max_attempts": 4, **AGAIN},
    ),
]


@pytest.mark.parametrize(
    ("record", "change", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_change_writes_these_fields_and_no_others(
    record: JobRecord, change: Change, expected: dict[str, Any]
) -> None:
    changed = asdict(rules.transition(record, change, NOW, LIMITS))

    before = asdict(record)
    assert {name: value for name, value in changed.items() if value != before[name]} == {
        name: value for name, value in expected.items() if value != before[name]
    }


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (Complete(), "a settle while complete is not possible"),
        (Lost(), "a rescue while complete is not possible"),
        (Claimed("node-1"), "a claim while complete is not possible"),
    ],
)
def test_a_change_that_is_not_possible_says_which(change: Change, what: str) -> None:
    done = replace(WAITING, status=JobStatus.COMPLETE, completed_at=START)

    with pytest.raises(JobStateError, match=rf"^job 7 \(alpha\): {what}$"):
        rules.transition(done, change, NOW, LIMITS)


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": None},
        {"expires_at": NOW + timedelta(microseconds=1)},
        {"attempt": 1},
        {"snoozes": 1},
    ],
    ids=str,
)
def test_a_waiting_job_that_has_started_or_not_expired_cannot_expire(fields: dict[str, Any]) -> None:
    with pytest.raises(JobStateError, match=r"^job 7 \(alpha\): an expiry while scheduled is not possible$"):
        rules.transition(replace(EXPIRED, **fields), Expired(), NOW, LIMITS)


def test_a_rerun_of_a_waiting_job_says_what_to_do() -> None:
    with pytest.raises(JobStateError, match="a rerun while scheduled is not possible; wait until it has ended"):
        rules.transition(WAITING, Rerun(), NOW, LIMITS)
