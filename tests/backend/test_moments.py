"""Moments are stored to the microsecond and come back in UTC, whatever the time zone."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rexecutor import Backend
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from rexecutor.testing.clock import START
from tests.backend.mail import Mail, claimed
from tests.backends import BACKENDS, made_backend
from tests.support import soon

SECOND = timedelta(seconds=1)


IN_A_ZONE = """
import asyncio, json, sys, time
from datetime import datetime, timedelta
from pathlib import Path
from rexecutor import Executor, Job
from rexecutor.backend.messages import Demand, Node
from rexecutor.testing import FakeClock
from tests.backends import made_backend

class Mail(Executor[str]):
    name = "mail"
    async def execute(self, job: Job[str]) -> None: ...

async def main() -> None:
    clock = FakeClock()
    async with made_backend(sys.argv[1], Path(sys.argv[2]), clock) as backend:
        builder = Mail.builder().with_data(time.tzname[0])
        at = await builder.schedule_at(datetime.fromisoformat(sys.argv[3])).enqueue(backend=backend)
        due = await builder.enqueue(backend=backend)
        early = await builder.schedule_in(timedelta(microseconds=1)).enqueue(backend=backend)
        heartbeats = backend.heartbeat_connection()
        heartbeats.send(Node("node", "node", timedelta(hours=1)))
        heartbeats.close()
        claim = await backend.claim(Demand({"mail": 10}, 10), "node")
        jobs = [await handle.fetch() for handle in (at, due, early)]
        print(json.dumps({
            "zone": time.tzname[0],
            "claimed": [record.id == due.id for record in claim.jobs],
            "moments": [[str(job.inserted_at), str(job.scheduled_at), str(job.attempted_at)] for job in jobs],
        }))

asyncio.run(main())
"""


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
async def test_the_time_zone_of_the_process_moves_nothing(name: str, zone: str, tmp_path: Path) -> None:
    moment = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    command = [sys.executable, "-c", IN_A_ZONE, name, str(tmp_path), moment.isoformat()]

    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, "TZ": zone}, cwd=Path(__file__).parents[2], stdout=PIPE, stderr=PIPE
    )
    output, errors = await soon(process.communicate(), 60)

    assert errors == b""
    told: dict[str, Any] = json.loads(output)
    at = str(moment.astimezone(UTC))
    assert told["zone"] in ("EST", "IST")
    assert told["claimed"] == [True]
    assert told["moments"] == [
        [str(START), at, "None"],
        [str(START), str(START), str(START)],
        [str(START), str(START + timedelta(microseconds=1)), "None"],
    ]
    async with made_backend(name, tmp_path, FakeClock()) as here:
        for record, told_moments in zip(await here.query(Everything()), told["moments"], strict=False):
            assert [str(record.inserted_at), str(record.scheduled_at), str(record.attempted_at)] == told_moments


@pytest.mark.parametrize("hours", [-11, 0, 5.5])
async def test_a_moment_of_any_zone_comes_back_in_utc(backend: Backend, hours: float) -> None:
    moment = datetime(2026, 3, 29, 2, 30, 0, 123_457, tzinfo=timezone(timedelta(hours=hours)))

    handle = await Mail.builder().with_data("x").schedule_at(moment).enqueue(backend=backend)

    job = await handle.fetch()
    assert (job.scheduled_at, job.scheduled_at.tzinfo) == (moment, UTC)


async def test_a_job_is_due_at_its_moment_and_not_a_microsecond_before(backend: Backend, clock: FakeClock) -> None:
    handle = await Mail.builder().with_data("x").schedule_in(SECOND).enqueue(backend=backend)
    clock.advance(SECOND - timedelta(microseconds=1))
    early = await claimed(backend)
    clock.advance(timedelta(microseconds=1))

    [record] = await claimed(backend)

    assert early == []
    assert record.id == handle.id
