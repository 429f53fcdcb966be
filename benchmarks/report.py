"""The table that `make bench` prints."""

from collections.abc import Callable
from statistics import median


class Report:
    """Prints a line for each figure: rexecutor's, the bare one, their ratio, and the ratio to reach."""

    def __init__(self, rounds: int) -> None:
        """Print the headings. Figures are medians of this many rounds."""
        self.rounds = rounds
        print(f"{'':52}{'ours':>10}{'bare':>10}{'ratio':>8}{'goal':>10}")

    def compare(
        self, name: str, jobs: int, ours: Callable[[], float], bare: Callable[[], float], *, goal: float | None = None
    ) -> None:
        """Measure both in turn, so that a slow moment hits both, and print jobs per second."""
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(self.rounds):
            seconds[0].append(ours())
            seconds[1].append(bare())
        mine, theirs = (jobs / median(one) for one in seconds)
        self.line(f"{name}, jobs/s", mine, theirs, "" if goal is None else f">= {goal}")

    def line(self, name: str, mine: float, theirs: float, goal: str = "", digits: int = 0) -> None:
        """Print a line."""
        print(f"{name:52}{mine:10,.{digits}f}{theirs:10,.{digits}f}{mine / theirs:8.2f}{goal:>10}", flush=True)
