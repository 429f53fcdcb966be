"""The engine under simulation: many seeds, the same seed twice, and defects that must be noticed."""

import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest

from tests.simulation.__main__ import ROOT, run, run_in_processes
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.settings import Options
from tests.simulation.simulation import simulate

SEEDS = 200
"""How many seeds each run of the tests has; `python -m tests.simulation --seeds 2000` has more."""

FOUND = (81, 103279)
"""Seeds that once found a defect: 81 a job that starts on a node that has just fenced itself; 103279 one of the
simulation: a node that is killed in the step in which its shutdown ends."""

LATE_CLAIM = Options(late=frozenset({"claim"}))
LATE_GIVE_BACK = Options(late=frozenset({"release_claims"}))


pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def dead_nodes_are_buried() -> Iterator[None]:
    """Collect what crashed nodes leave behind in the middle of a step, lest it be told in somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.mark.timeout(600)
def test_all_promises_hold_whatever_goes_wrong() -> None:
    total = run_in_processes(1, SEEDS)

    assert total.failed == {}
    assert total.seeds == SEEDS
    for fault in (
        "crashes",
        "pauses",
        "blocks",
        "cuts",
        "skews",
        "stops",
        "lost_answers",
        "late_statements",
        "rescues",
    ):
        assert total.numbers[fault] >= SEEDS / 10, fault


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_found_a_defect_finds_none_any_more(seed: int) -> None:
    assert run([seed]).failed == {}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_says_all_that_happens_in_every_process(seed: int) -> None:
    digests = [simulate(seed).digest for _ in range(2)]
    for hash_seed in ("1", "2"):
        child = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", str(seed)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        digests.append(child.stdout.rpartition('"digest": "')[2].partition('"')[0])

    assert set(digests) == {digests[0]}


def test_two_seeds_are_two_stories() -> None:
    assert simulate(1).digest != simulate(2).digest


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_defect_is_noticed(mutant: Callable[[], Mutant]) -> None:
    assert _finds(range(1, 121), mutant)


def test_a_node_that_never_waits_for_a_due_moment_is_noticed() -> None:
    """As if a backend tells the moment by the clock of the store, and the node's own is ahead."""
    assert _finds_with(Options(knows_skew=False), range(1, 61))


def test_a_claim_that_comes_late_loses_no_job() -> None:
    assert not _finds_with(LATE_CLAIM, range(9, 16))


def test_a_give_back_that_comes_late_gives_nothing_back_that_runs() -> None:
    assert not _finds_with(LATE_GIVE_BACK, range(7, 9))


def test_a_tick_is_not_missed_because_a_new_node_looks_first() -> None:
    assert not _finds_with(Options(), range(4, 7))


def _finds(seeds: range, mutant: Callable[[], Mutant]) -> bool:
    for seed in seeds:
        with mutant():
            if simulate(seed).broken is not None:
                return True
    return False


def _finds_with(options: Options, seeds: range) -> bool:
    return any(simulate(seed, options).broken is not None for seed in seeds)
