"""Rows of jobs that only a hand can write, as the right side of `UPDATE {jobs} SET …`."""

from collections.abc import Mapping
from typing import Final

NUMBERS: Final[Mapping[str, str]] = {
    "attempt is -1": "attempt = -1",
    "attempt is -5": "attempt = -5",
    "attempt is -2^31": "attempt = -2147483648",
    "attempt is 2^31 - 1": "attempt = 2147483647",
    "max_attempts is 0": "max_attempts = 0",
    "max_attempts is -5": "max_attempts = -5",
    "max_attempts is 2^31 - 1": "max_attempts = 2147483647",
    "priority is -1": "priority = -1",
    "priority is -2^31": "priority = -2147483648",
    "priority is 2^31 - 1": "priority = 2147483647",
    "claims is -1": "claims = -1",
    "claims is -5": "claims = -5",
    "claims is 2^63 - 1": "claims = 9223372036854775807",
    "snoozes is -1": "snoozes = -1",
    "losses is -1": "losses = -1",
    "losses is 2^31 - 1": "losses = 2147483647",
    "revision is -1": "revision = -1",
    "revision is 2^63 - 1": "revision = 9223372036854775807",
}

STATUSES: Final[Mapping[str, str]] = {
    "status is unknown": "status = 'sleeping'",
    "status is unknown and not due": "status = 'sleeping', due = false",
    "status is unknown, and nobody runs it": "status = 'sleeping', due = false, executor = 'nobody'",
    "status is empty": "status = ''",
    "status is in capitals": "status = 'SCHEDULED'",
    "complete and due": "status = 'complete'",
    "complete at no time": "status = 'complete', due = false",
    "retryable and not due": "status = 'retryable', due = false",
    "run by nobody": "status = 'executing', due = false, node = NULL",
    "run by a node that is not there": "status = 'executing', due = false, node = 'nowhere'",
    "scheduled and with a node": "node = 'nowhere'",
    "scheduled and with a cancel": "cancel_reason = 'enough'",
    "a key that is no digest": "unique_key = 'x'",
}

EXECUTORS: Final[Mapping[str, str]] = {
    "executor is unknown": "executor = 'nobody'",
    "executor is empty": "executor = ''",
    "executor is SQL": "executor = '''); DROP TABLE rexecutor_jobs; --'",
}

NULLS: Final[Mapping[str, str]] = {
    f"{column} is NULL": f"{column} = NULL"
    for column in ("executor", "data", "tags", "errors", "scheduled_at", "inserted_at", "max_attempts", "attempt")
}

ERRORS: Final[Mapping[str, str]] = {
    "errors is an object": "errors = '{}'",
    "errors is a number": "errors = '7'",
    "errors is a text": "errors = '\"x\"'",
    "errors is null": "errors = 'null'",
    "errors holds anything": "errors = '[1, null, {}]'",
    "errors holds half an error": """errors = '[{"attempt": "one", "kind": "exception"}]'""",
    "errors holds an unknown kind": (
        """errors = '[{"attempt": 1, "kind": "none", "type_name": "", "details": "","""
        """ "recorded_at": "2020-01-01T00:00:00Z"}]'"""
    ),
}

POSTGRES: Final[Mapping[str, str]] = {
    "tags holds NULL": "tags = '{NULL}'",
    "tags holds lists": "tags = '{{a},{b}}'",
    "data is null": "data = 'null'",
    "scheduled_at is 20000-01-01 and not due": "scheduled_at = '20000-01-01', due = false",
    **{
        f"{column} is {moment}": f"{column} = '{moment}'"
        for column in ("scheduled_at", "inserted_at", "attempted_at", "completed_at")
        for moment in ("infinity", "-infinity", "4000-01-01 BC", "20000-01-01")
    },
}

SQLITE: Final[Mapping[str, str]] = {
    "errors is no JSON": "errors = '{'",
    "tags is no JSON": "tags = '{{{'",
    "tags is a number": "tags = '7'",
    "tags holds numbers": "tags = '[1]'",
    "tags is no UTF-8": "tags = CAST(x'5b22ff225d' AS TEXT)",
    "executor is no UTF-8": "executor = CAST(x'ff' AS TEXT)",
    "node is no UTF-8": "node = CAST(x'ff' AS TEXT), status = 'executing', due = 0",
    "due is 7": "due = 7",
    **{
        f"{column} is {moment}": f"{column} = {moment}"
        for column in ("scheduled_at", "inserted_at", "attempted_at", "completed_at")
        for moment in (9223372036854775807, -9223372036854775808)
    },
}

_RUNNING: Final = "status = 'executing', due = false, node = 'nowhere', "


def malformed(*, is_postgres: bool) -> dict[str, str]:
    """Return all of them, by what is wrong with them: as waiting jobs, and some as jobs of a lost node."""
    of_store = POSTGRES if is_postgres else SQLITE
    waiting = {**NUMBERS, **STATUSES, **EXECUTORS, **NULLS, **ERRORS, **of_store}
    fields = {**NUMBERS, **NULLS, **ERRORS, **of_store}
    return {**waiting, **{f"lost, {what}": _RUNNING + text for what, text in fields.items() if "node" not in text}}
