"""What of the test tools is not used by other tests: how they load, and how the suite fails."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

import rexecutor.testing
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.testing import BackendSuite, FakeClock
from rexecutor.testing.suite import case
from rexecutor.testing.suite.store import HOUR, Store, expect

NEEDS_NOTHING = """
import sys
sys.modules["pytest"] = sys.modules["hypothesis"] = None
from rexecutor.testing import BackendSuite, FakeClock
"""


class Suite(BackendSuite):
    closed: ClassVar[list[InMemoryBackend]] = []

    def open_backend(self, clock: FakeClock, store: Path) -> InMemoryBackend:
        closed = self.closed

        class Backend(InMemoryBackend):
            async def close(self) -> None:
                closed.append(self)

        return Backend(clock=clock)

    async def test_that_fails(self, store: Store) -> None:
        assert await store.jobs() == ["a job"]

    async def test_that_hangs(self, store: Store) -> None:
        await store.backend.wait_ready([], store.now + HOUR, since=store.backend.version)


def run(name: str, folder: Path) -> None:
    """Run one case as pytest does."""
    getattr(Suite(), name)(folder)


def test_the_suite_and_the_clock_need_neither_pytest_nor_hypothesis() -> None:
    subprocess.run([sys.executable, "-c", NEEDS_NOTHING], check=True)


def test_all_names_can_be_listed_and_loaded() -> None:
    assert set(rexecutor.testing.__all__) <= set(dir(rexecutor.testing))
    assert all(getattr(rexecutor.testing, name) is not None for name in rexecutor.testing.__all__)


def test_no_case_of_the_suite_hides_another() -> None:
    names = [name for topic in BackendSuite.__bases__ for name in vars(topic) if name.startswith("test")]

    assert len(names) == len(set(names))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        getattr(rexecutor.testing, "nothing_like_it")  # noqa: B009 - a type checker knows that it is not there


def test_a_case_that_fails_closes_its_backend(tmp_path: Path) -> None:
    Suite.closed.clear()

    with pytest.raises(AssertionError):
        run("test_that_fails", tmp_path)

    assert len(Suite.closed) == 1


def test_a_case_that_hangs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "PATIENCE", 0.01)

    with pytest.raises(AssertionError, match="the case hangs"):
        run("test_that_hangs", tmp_path)


def test_two_handles_where_there_is_one_are_skipped_aloud(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="shares_store"):
        run("test_a_lease_outlives_its_handle", tmp_path)


def test_an_error_that_does_not_come_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="KeyError expected"), expect(KeyError):
        pass
