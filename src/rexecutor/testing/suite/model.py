"""The model: drives a backend and `rexecutor.model.rules` side by side through random lives, and compares them."""

import os
import unittest
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings

from rexecutor.backend.base import Backend
from rexecutor.testing.clock import FakeClock
from rexecutor.testing.suite.case import Cases
from rexecutor.testing.suite.model_periodic import PeriodicModel
from rexecutor.testing.suite.model_wishes import WishModel
from rexecutor.testing.suite.model_work import WorkModel

EXAMPLES: Final = "REXECUTOR_MODEL_EXAMPLES"
"""The environment's name for how many lives are tried; 50 by default."""
STEPS: Final = "REXECUTOR_MODEL_STEPS"
"""The environment's name for how many steps a life has at most; 40 by default."""


def model_of(suite: type[Cases]) -> type[unittest.TestCase]:
    """Answer a test case that drives the suite's backend; pytest and unittest run it.

    ```python
    class TestMyBackend(BackendSuite): ...

    TestMyModel = model_of(TestMyBackend)
    ```

    It tries 50 lives of at most 40 steps; `REXECUTOR_MODEL_EXAMPLES` and `REXECUTOR_MODEL_STEPS` change that.
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


class BackendModel(WishModel, WorkModel, PeriodicModel):
    """A backend beside a dict of records that only `rules` change. Made by `model_of`.

    After every step each record of the backend equals the dict's in every field; a claim starts at most once (I3), a
    claim has at most one outcome and an ended job changes its status only by a rerun (I4), every record is coherent
    (I6), no enqueue with criteria adds a second job that they describe (I7), and no tick is taken twice.
    """
