"""Every scenario on PostgreSQL, small: see `short.py`."""

from pathlib import Path

import pytest

from tests.faults.scenario import Scenario
from tests.faults.short import check, on


@pytest.mark.parametrize("scenario", on("postgres"))
def test_it_holds_what_was_promised(scenario: Scenario, tmp_path: Path) -> None:
    check(scenario, "postgres", tmp_path)
