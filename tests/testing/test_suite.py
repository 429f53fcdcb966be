"""What of the test tools is not used by other tests: how they load, and how the suite fails."""

import ast
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
from rexecutor.testing import """


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
        await store.backend.wait_ready([], store.now + HOUR, since=store.backend.change_count)


def run(name: str, folder: Path) -> None:
    """Run one case as pytest does."""
    getattr(Suite(), name)(folder)


def test_all_but_the_model_need_neither_pytest_nor_hypothesis() -> None:
    for names in ("BackendSuite, Drained, FakeClock, assert_enqueued, drain, perform, refute_enqueued", "*"):
        subprocess.run([sys.executable, "-c", NEEDS_NOTHING + names], check=True)


def test_all_names_can_be_listed_and_loaded() -> None:
    assert set(rexecutor.testing.__all__) <= set(dir(rexecutor.testing))
    assert all(getattr(rexecutor.testing, name) is not None for name in rexecutor.testing.__all__)


def test_no_case_of_the_suite_hides_another() -> None:
    names = [name for topic in BackendSuite.__bases__ for name in vars(topic) if name.startswith("test")]

    assert len(names) == len(set(names))


def test_what_is_listed_is_sorted_and_is_what_type_checkers_see() -> None:
    tree = ast.parse(Path(rexecutor.testing.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]

    assert rexecutor.testing.__all__ == sorted(rexecutor.testing.__all__)
    assert {alias.name: node.module for node in imports for alias in node.names} == rexecutor.testing._HOMES
    needing_hypothesis = {"BackendModel", "model_of"}
    assert sorted(set(rexecutor.testing._HOMES) - needing_hypothesis) == rexecutor.testing.__all__


def test_a_helper_is_the_same_whichever_module_is_imported_first() -> None:
    code = "import rexecutor.testing.draining, rexecutor.testing as t; assert callable(t.drain), callable(t.perform)"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        getattr(rexecutor.testing, "nothing_like_it")  # noqa: B009 - a type checker knows that it is not there


def test_a_case_that_fails_closes_its_backend(tmp_path: Path) -> None:
    Suite.closed.clear()

    with pytest.raises(AssertionError):
        run("test_that_fails", tmp_path)

    assert len(Suite.closed) == 1


def test_a_case_that_hangs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "CASE_TIMEOUT", 0.01)

    with pytest.raises(AssertionError, match="the case hangs"):
        run("test_that_hangs", tmp_path)


def test_two_backends_where_there_is_one_are_skipped_aloud(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="shares_store"):
        run("test_a_lease_outlives_its_backend", tmp_path)


def test_an_error_that_does_not_come_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="KeyError expected"), expect(KeyError):
        pass
