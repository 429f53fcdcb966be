"""Outcomes as values."""

from typing import Any

import pytest

from rexecutor import Cancel, ConfigurationError, Executor, Job, Snooze
from rexecutor.testing import perform
from tests.engine.executors import SECOND


def test_a_snooze_into_the_past_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Snooze: delay must be a timedelta from 0:00:00 to 365 days"):
        Snooze(-SECOND)


@pytest.mark.parametrize("kind", [Cancel, Snooze])
async def test_the_class_of_an_outcome_is_none(kind: Any) -> None:
    class GivesUp(Executor[None]):
        name = "gives_up"

        async def execute(self, job: Job[None]) -> Any:
            return kind

    with pytest.raises(TypeError, match=rf"the class {kind.__name__}; return an instance, such as {kind.__name__}\("):
        await perform(GivesUp)
