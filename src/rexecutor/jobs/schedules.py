"""Makes the schedules that a store keeps from the arguments of `with_cron_executor` and from pruners."""

import hashlib
from collections.abc import Collection
from datetime import timedelta, tzinfo
from typing import Any, Final

import msgspec

from rexecutor.errors import ConfigurationError
from rexecutor.jobs.enqueue import JobBuilder
from rexecutor.model.checks import checked_delay, checked_name, mistake
from rexecutor.model.codec import canonical
from rexecutor.model.cron import Cron, zone_name
from rexecutor.model.job import Limits
from rexecutor.model.pruning import BeyondNewest, PruneSpec
from rexecutor.model.schedules import CatchUp, Schedule

_LONGEST_WINDOW: Final = timedelta(days=31)


def cron_schedule(
    builder: JobBuilder[Any, Any, Any],
    schedule: Cron | str,
    *,
    limits: Limits,
    timezone: tzinfo,
    schedule_id: str | None,
    catch_up: CatchUp | str,
    window: timedelta,
) -> Schedule:
    """Return the schedule that enqueues the builder's job at each tick.

    Its id is `schedule_id`, or if that is None the BLAKE2b-256 digest of executor, expression, time zone and data.
    """
    cron = schedule if isinstance(schedule, Cron) else Cron(schedule)
    job = builder.unique(None).build(limits)
    what = f"with_cron_executor({job.executor})"
    if schedule_id is not None:
        checked_name(f"{what}: id", schedule_id)
    if catch_up not in set(CatchUp):
        raise mistake(f"{what}: catch_up", '"skip", "latest" or "all"', catch_up)
    checked_delay(f"{what}: catch_up_within", window, limit=_LONGEST_WINDOW)
    try:
        zone = zone_name(timezone)
    except ConfigurationError as error:
        raise ConfigurationError(f"{what}: {error}") from None
    identity = schedule_id or _digest(job.executor, cron.text, zone, canonical(job.data))
    return Schedule(identity, cron, timezone, job, CatchUp(catch_up), window)


def prune_schedule(cron: Cron, timezone: tzinfo, specs: Collection[PruneSpec]) -> Schedule:
    """Return the schedule at whose ticks a node prunes. Nodes that prune the same share it: its id is a digest."""
    described = [
        [spec.status, repr(spec.what), isinstance(spec.what, BeyondNewest), sorted(spec.executors), spec.is_except]
        for spec in specs
    ]
    return Schedule(_digest("prune", cron.text, described), cron, timezone, None)


def _digest(*parts: object) -> str:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=32).hexdigest()
