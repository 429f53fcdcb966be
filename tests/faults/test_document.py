"""`docs/reliability.md` is its words and the figures that were kept, and nothing else."""

from typing import Any

import pytest

from tests.faults.document import PAGE, WORDS, kept, made, page
from tests.faults.scenario import scenarios

LINE: dict[str, Any] = {
    "scenario": "S6",
    "title": "an old title",
    "store": "sqlite",
    "acknowledged": 1_000,
    "lost": 0,
    "recovery_s": 1.5,
    "day": "2026-11-24",
    "seconds": 7.0,
    "size": "full",
    "seed": 3,
    "wrong": [],
}
SOME = {name: one for name, one in scenarios().items() if name == "S6"}
TOPICS = "".join(f"| {topic} | … | {{proofs: {topic}}}; suite |\n" for topic in SOME["S6"].proves)


def test_the_page_is_made_of_the_words_and_the_kept_lines() -> None:
    assert PAGE.read_text() == made(), "run `python -m tests.faults.document`"


def test_every_scenario_has_a_line_and_every_line_a_scenario() -> None:
    assert {(line["scenario"], line["store"]) for line in kept()} == {
        (one.name, kind) for one in scenarios().values() for kind in one.kinds
    }


def test_a_line_becomes_a_row() -> None:
    made_page = page(TOPICS + "{scenarios}\n{summary}", [LINE], SOME)

    assert "| Start | … | [S6](#the-scenarios); suite |" in made_page
    title = SOME["S6"].title
    assert (
        f"| S6 | {title} | sqlite | acknowledged 1,000; lost 0; recovery (s) 1.5; full size, seed 3, 7 s | yes |"
        in (made_page)
    )
    assert "Of 1,000 jobs whose enqueue was acknowledged 0 were lost" in made_page


def test_what_is_not_as_promised_and_what_was_skipped_is_said() -> None:
    wrong = {**LINE, "wrong": ["lost is 3, 0 expected"]}
    skipped = {**{name: LINE[name] for name in ("scenario", "title")}, "store": "postgres", "skipped": "no PgBouncer"}
    made_page = page(TOPICS + "{scenarios}\n{summary}", [wrong, skipped], SOME)

    assert "| **no**: lost is 3, 0 expected |" in made_page
    assert "| not run: no PgBouncer | not run |" in made_page
    assert "1 of them not as promised, 1 skipped" in made_page


def test_a_scenario_that_proves_what_nobody_promises_is_refused() -> None:
    with pytest.raises(ValueError, match="Start"):
        page("{proofs: Overlap} {proofs: Lease}", [LINE], SOME)


def test_a_topic_without_scenarios_names_its_tests_alone() -> None:
    assert page("{proofs: Order}; suite", [], {}).startswith("suite")
    assert "{proofs: " in WORDS.read_text()
