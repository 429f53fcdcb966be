"""Every scenario on PostgreSQL, small: see `quick.py`."""

from pathlib import Path

import pytest

from tests.faults.quick import check, on
from tests.faults.scenario import Scenario


@pytest.mark.parametrize("scenario", on("postgres"))
def test_it_holds_what_was_promised(scenario: Scenario, tmp_path: Path) -> None:
    check(scenario, "postgres", tmp_path)
