"""Finds class attributes of an executor that look like settings but are not.

A misspelt setting, or one of another library, would be ignored silently and the job would run with the default. Any
other attribute is the executor's own, such as a template or a limit.
"""

from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, cast

from rexecutor.errors import DefinitionError

if TYPE_CHECKING:
    from rexecutor.jobs.executor import Executor

_LONG_NAMES: Final = ("max_attempts", "max_concurrency", "uniqueness_criteria")
_PLAIN: Final = (str, int, float, tuple, list, set, frozenset, dict, timedelta, type(None))
"""Types of the values of settings. Methods, properties and clients are the executor's own, whatever their names."""
_OF_OTHERS: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("queue", "queue_name", "queues"),
        "there are no queues; a Rexecutor runs the executors that it is given by with_executor",
    ),
    **dict.fromkeys(
        ("retry", "retries", "max_retries", "max_tries", "tries", "attempts", "retry_limit"),
        "set max_attempts, which counts the first attempt too",
    ),
    **dict.fromkeys(
        ("retry_delay", "retry_backoff", "retry_backoff_max", "retry_jitter", "default_retry_delay"),
        "define `def backoff(self, job)`",
    ),
    **dict.fromkeys(
        ("autoretry_for", "retry_for", "retry_on", "throws", "discard_on"),
        "any exception is a failed attempt; return Cancel(reason) to give a job up",
    ),
    **dict.fromkeys(
        ("time_limit", "soft_time_limit", "job_timeout", "timeout_seconds", "timeout_ms"),
        "define `def timeout(self, job)`",
    ),
    **dict.fromkeys(("acks_late", "reject_on_worker_lost"), "a job is always completed after it has run; leave it out"),
    "rate_limit": "rates are not limited; max_concurrency limits how many jobs run at a time",
    **dict.fromkeys(("concurrency", "concurrency_limit", "max_workers"), "set max_concurrency"),
    **dict.fromkeys(
        ("countdown", "eta", "run_at", "scheduled_at", "schedule_at", "schedule_in"),
        "give it when a job is enqueued: builder().schedule_in(…) or schedule_at(…)",
    ),
    **dict.fromkeys(
        ("expires", "expires_in", "expires_at"),
        "jobs do not expire; return Cancel(reason) from execute when it is too late",
    ),
    **dict.fromkeys(
        ("cron", "crontab", "schedule", "run_every"), "give the schedule to the Rexecutor: with_cron_executor(…)"
    ),
    **dict.fromkeys(
        ("unique", "unique_for", "unique_by", "unique_key", "queueing_lock"),
        "set uniqueness_criteria = UniquenessCriteria.by_executor() or so",
    ),
    "tags": "give them when a job is enqueued: builder().with_tags(…)",
    "priority": "give it when a job is enqueued: builder().with_priority(…)",
    **dict.fromkeys(
        ("ignore_result", "store_result", "store_results", "result_ttl"), "results are not stored; leave it out"
    ),
    "serializer": "data are JSON of the type in the brackets of Executor[…]; leave it out",
    **dict.fromkeys(("task_name", "job_name"), "set name"),
}


def check_setting_names(kind: "type[Executor[Any, Any]]", where: str) -> None:
    """Raise a `DefinitionError` if the class, or a base that is an executor, has an attribute meant as a setting."""
    from rexecutor.jobs.executor import Executor  # it imports definition.py, which imports this module

    for ancestor in kind.__mro__:
        if ancestor is Executor or not issubclass(ancestor, Executor):
            continue
        for given, value in vars(cast("type[object]", ancestor)).items():
            # Only the long names: something so close to one of these is a typo, and not a name of the user's own.
            meant = get_close_matches(given, _LONG_NAMES, n=1, cutoff=0.85)
            if meant and given not in _LONG_NAMES:
                raise DefinitionError(f"{where}: {given} is no setting; {meant[0]} is meant")
            if given in _OF_OTHERS and isinstance(value, _PLAIN):
                own = f"if it is a value of your own, name it _{given}"
                raise DefinitionError(f"{where}: {given} is no setting: {_OF_OTHERS[given]}; {own}")
