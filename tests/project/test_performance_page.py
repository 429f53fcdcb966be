"""The performance page shows the figures that were kept, and no others."""

import json
from typing import Any

from benchmarks.document import KEPT, PAGE, PICTURES, WORDS, merged, page, results_of
from benchmarks.workloads import WORKLOADS

KEPT_FIGURES: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))


def test_the_page_is_made_of_its_words_and_of_the_figures_kept() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(WORDS.read_text(encoding="utf-8"), KEPT_FIGURES), (
        "run `python -m benchmarks.document`"
    )


def test_each_workload_with_figures_has_its_plot() -> None:
    plots = {path.stem for path in PICTURES.glob("*.svg")}

    assert {name for name, one in KEPT_FIGURES.items() if one["figures"]} <= plots


def test_what_a_run_has_measured_takes_the_place_of_what_was_kept_and_leaves_the_rest() -> None:
    about: dict[str, Any] = {"when": "2026-01-01", "machine": {}, "options": {}, "servers": {}, "systems": {}}
    first, other = list(WORKLOADS)[:2]
    kept = merged({}, about | {"figures": {first: {"x": [1]}, other: {"x": [2]}}, "left_out": {}})

    again = merged(kept, about | {"figures": {other: {"y": [3]}}, "left_out": {}})

    assert {name: one["figures"] for name, one in again.items()} == {first: {"x": [1]}, other: {"y": [3]}}


def test_a_share_is_one_of_the_same_run() -> None:
    about: dict[str, Any] = {"when": "2026-01-01", "machine": {}, "options": {}, "servers": {}, "systems": {}}
    one, other = {"jobs_per_s": 1.0, "ran_per_s": 100.0}, {"jobs_per_s": 1.0, "ran_per_s": 300.0}
    kept = merged(
        {}, about | {"figures": {name: {"pgqueuer": [one]} for name in ("drain_1", "waiting")}, "left_out": {}}
    )

    kept = merged(kept, about | {"figures": {"drain_1": {"pgqueuer": [other]}}, "left_out": {}})

    assert "| pgqueuer |" in (table := results_of(kept).table(WORKLOADS["waiting"]))
    assert "1.00" in table
    assert "0.33" not in table
