"""Runs Django's own tests of `django.tasks` with our backend, in a process of its own: `python -m … FOLDER`.

The folder holds `tests/tasks` of Django's source distribution. Its modules are unchanged. While they are loaded, the
names of Django's backends and of its `Task` stand for ours: so the paths that the tests put into `TASKS` lead here.
Both backends keep their jobs in memory, for most of the tests refuse to query a database.
"""

import json
import sys
import unittest
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from unittest import mock

import django

NOT_RUN: Final[Mapping[str, str]] = {
    "test_custom_backend.CustomBackendTestCase.test_backend_does_not_support_priority": "ours supports priorities",
    "test_custom_backend.CustomBackendTestCase.test_no_enqueue": "ours has an enqueue, which a subclass inherits",
    "test_dummy_backend.DummyBackendTestCase.test_refresh_result": "changes an object in the dummy's list of results",
    "test_dummy_backend.DummyBackendTestCase.test_refresh_result_async": "as test_refresh_result",
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_get_result": "ours can",
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_refresh_result": "ours can",
    "test_immediate_backend.ImmediateBackendTestCase.test_cannot_pass_run_after": "ours supports run_after",
    "test_immediate_backend.ImmediateBackendTestCase.test_throws_keyboard_interrupt": (
        "the task runs in a thread of the worker, which must outlive it: the task fails"
    ),
}
"""The tests that do not run, with the reason."""
_SETTINGS: Final = {
    "SECRET_KEY": "for tests",
    "USE_TZ": True,
    "LOGGING_CONFIG": None,
    "INSTALLED_APPS": ["rexecutor.django"],
}


def main(folder: Path) -> None:
    """Run the tests of the folder, and print how each has ended as one line of JSON: its error, or nothing."""
    from django.conf import settings
    from django.db import connections
    from django.test.utils import setup_test_environment

    result = _Ended(sys.stderr, descriptions=False, verbosity=0)
    with TemporaryDirectory() as place:
        file = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{place}/db.sqlite3"}
        settings.configure(**_SETTINGS, DATABASES={"default": {**file, "OPTIONS": {"transaction_mode": "IMMEDIATE"}}})
        django.setup()
        setup_test_environment()
        unittest.TestSuite(_chosen(_loaded(folder))).run(result)
        connections.close_all()
    sys.stdout.write(json.dumps(result.ended))


class _Ended(unittest.TextTestResult):
    """Notes how each test has ended."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ended: dict[str, str] = {}

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - the name of unittest
        super().stopTest(test)
        wrong = [text for case, text in (*self.errors, *self.failures) if test.id() in case.id()]
        wrong += [f"skipped: {reason}" for case, reason in self.skipped if case is test]
        self.ended[test.id().removeprefix("tasks.")] = "\n".join(wrong)


def _loaded(folder: Path) -> Iterator[unittest.TestCase]:
    """Load the test modules, and return their tests."""
    from django import tasks
    from django.tasks.backends import base, dummy, immediate

    from rexecutor.django import RexecutorTask
    from tests.in_django.upstream_backends import Drained, Paused

    sys.path.insert(0, str(folder))
    dummy.DummyBackend = Paused
    immediate.ImmediateBackend = Drained
    load = unittest.defaultTestLoader.loadTestsFromName
    suites = [load(f"tasks.{name}") for name in ("test_tasks", "test_dummy_backend", "test_immediate_backend")]
    with mock.patch.object(base, "BaseTaskBackend", Paused), mock.patch.object(tasks, "Task", RexecutorTask):
        suites.append(load("tasks.test_custom_backend"))
    return (test for suite in suites for test in _flat(suite))


def _flat(suite: unittest.TestSuite) -> Iterator[Any]:
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from _flat(one)
        else:
            yield one


def _chosen(tests: Iterator[unittest.TestCase]) -> list[unittest.TestCase]:
    return [test for test in tests if test.id().removeprefix("tasks.") not in NOT_RUN]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
