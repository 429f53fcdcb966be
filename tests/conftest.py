"""What all tests share."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from rexecutor import Backend
from rexecutor.telemetry import log
from rexecutor.telemetry.events import Event
from rexecutor.testing import FakeClock
from tests import postgres
from tests.backends import BACKENDS, made_backend
from tests.support import Events

pytest.register_assert_rewrite("rexecutor.testing.suite")

_FIRST = "REXECUTOR_TEST_FIRST_PROCESS"

settings.register_profile("rexecutor", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
# mutmut runs the tests of a mutant in a fork of a process that has run them already.
settings.register_profile("mutants", database=None, max_examples=30, suppress_health_check=list(HealthCheck))
settings.load_profile(
    "mutants" if "MUTANT_UNDER_TEST" in os.environ else os.environ.get("HYPOTHESIS_PROFILE", "rexecutor")
)


def pytest_configure() -> None:
    # A shell starts `pytest … &` with SIGINT ignored, and so would be all processes that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if postgres.FOLDER not in os.environ:
        postgres.prepare()
        os.environ[_FIRST] = str(os.getpid())


def pytest_unconfigure() -> None:
    if os.environ.get(_FIRST) == str(os.getpid()):
        postgres.clean_up()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse names of tests that differ from process to process: pytest-xdist's workers must collect the same."""
    for item in items:
        if "frozenset({" in item.nodeid or " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: give `ids` to its parameters; the repr of a set has no order")


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until the test moves it; the `backend`'s."""
    return FakeClock()


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """The events that are logged during the test. Tests ask these, not the wording of log lines."""
    logged, line_of = Events(), log._line

    def noted(event: Event, command: Callable[[str], str | None]) -> log._Line:
        logged.append(event)
        return line_of(event, command)

    monkeypatch.setattr(log, "_line", noted)
    return logged


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> AsyncIterator[Backend]:
    """An open backend on the clock: the test runs once on each there is."""
    async with made_backend(request.param, tmp_path, clock) as made:
        yield made
