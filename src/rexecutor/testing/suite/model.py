"""The Hypothesis model: drives a backend and `rexecutor.model.rules` through the same random steps, and compares."""

import os
import unittest
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings

from rexecutor.backend.base import Backend
from rexecutor.testing.clock import FakeClock
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.model_client import ClientModel
from rexecutor.testing.suite.model_periodic import PeriodicModel
from rexecutor.testing.suite.model_work import WorkModel

EXAMPLES: Final = "REXECUTOR_MODEL_EXAMPLES"
"""Name of the environment variable that sets the number of random runs, 50 by default."""
STEPS: Final = "REXECUTOR_MODEL_STEPS"
"""Name of the environment variable that sets the maximum number of steps in a run, 40 by default."""


def model_of(suite: type[Cases]) -> type[unittest.TestCase]:
    """Return a test case that runs the model against the suite's backend. pytest and unittest can run it.

    ```python
    class TestMyBackend(BackendSuite): ...

    TestMyModel = model_of(TestMyBackend)
    ```

    It makes 50 random runs of at most 40 steps. The environment variables `REXECUTOR_MODEL_EXAMPLES` and
    `REXECUTOR_MODEL_STEPS` change these numbers.
    """
    cases = suite()

    class Model(BackendModel):
        def open_backend(self, clock: FakeClock, store: Path) -> Backend:
            return cases.open_backend(clock, store)

    case = Model.TestCase
    case.settings = settings(
        max_examples=int(os.environ.get(EXAMPLES, "50")),
        stateful_step_count=int(os.environ.get(STEPS, "40")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    case.__name__ = case.__qualname__ = f"{suite.__name__}Model"
    return case


class BackendModel(ClientModel, WorkModel, PeriodicModel):
    """Compares a backend with a dict of records that only `rules` change. `model_of` makes test cases of it.

    After every step each record of the backend equals the dict's in every field. Also checked: a claim starts at most
    once (I3); a claim has at most one outcome, and an ended job changes its status only by a rerun (I4); every record
    is coherent (I6); no enqueue with criteria adds a second job that matches them (I7); no tick is taken twice.
    """
