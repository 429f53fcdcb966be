"""The suite as a writer of a backend sees it. Checked by basedpyright, never run."""

import unittest
from datetime import datetime, timedelta
from pathlib import Path
from typing import assert_type

from rexecutor import InMemoryBackend
from rexecutor.testing import BackendSuite, FakeClock, model_of


class TestMyBackend(BackendSuite):
    def open_backend(self, clock: FakeClock, store: Path) -> InMemoryBackend:
        assert_type(store, Path)
        return InMemoryBackend(clock=clock)


TestMyModel = model_of(TestMyBackend)

assert_type(TestMyModel, type[unittest.TestCase])
assert_type(FakeClock().now(), datetime)
assert_type(FakeClock().advance(timedelta(seconds=1)), None)
