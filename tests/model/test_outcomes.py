"""Outcomes as values."""

import pytest

from rexecutor import ConfigurationError, Snooze
from tests.engine.executors import SECOND


def test_a_snooze_into_the_past_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Snooze: delay must be a timedelta from 0:00:00 to 365 days"):
        Snooze(-SECOND)
