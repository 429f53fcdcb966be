"""What a node makes of the store's time, which claims tell."""

from datetime import datetime, timedelta

from msgspec.structs import replace

from rexecutor import JobStatus
from rexecutor.engine.store_clock import TRUSTED_SECONDS, StoreClock
from rexecutor.model.job import JobRecord
from rexecutor.testing import FakeClock
from tests.engine.executors import HOUR, SECOND
from tests.support import record_made


def claimed(moment: datetime) -> list[JobRecord]:
    """A claim that was made at this moment on the store's clock."""
    return [replace(record_made(1, JobStatus.EXECUTING), attempted_at=moment)]


def since(store_clock: StoreClock, moment: datetime, clock: FakeClock) -> timedelta:
    return timedelta(seconds=store_clock.seconds_since(moment, clock.monotonic()))


def test_until_the_first_claim_it_is_the_machines_time(clock: FakeClock) -> None:
    store_clock = StoreClock(clock)
    began = clock.now()
    store_clock.note_claim([])
    clock.advance(SECOND)

    assert since(store_clock, began, clock) == SECOND


def test_it_goes_on_from_the_claim(clock: FakeClock) -> None:
    store_clock = StoreClock(clock)
    moment = clock.now() + HOUR
    store_clock.note_claim(claimed(moment))
    clock.advance(5 * SECOND)
    clock.jump(-HOUR)  # the machine's wall clock counts for nothing

    assert since(store_clock, moment, clock) == 5 * SECOND


def test_of_several_claims_the_quickest_is_right(clock: FakeClock) -> None:
    store_clock = StoreClock(clock)
    moment = clock.now() + HOUR
    for slow in (2 * SECOND, SECOND / 10, SECOND):
        clock.advance(SECOND)
        moment += SECOND
        store_clock.note_claim(claimed(moment - slow))

    assert since(store_clock, moment, clock) == -SECOND / 10


def test_a_leap_of_the_stores_clock_is_followed(clock: FakeClock) -> None:
    store_clock = StoreClock(clock)
    moment = clock.now()
    store_clock.note_claim(claimed(moment))
    store_clock.note_claim(claimed(moment + HOUR))
    assert since(store_clock, moment, clock) == HOUR

    clock.advance(timedelta(seconds=TRUSTED_SECONDS))
    store_clock.note_claim(claimed(moment))

    assert since(store_clock, moment, clock) == timedelta(0)
