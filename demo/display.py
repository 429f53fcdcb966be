"""Shows the demo's progress: a live bar on a terminal, a few plain lines elsewhere."""

import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

LINE_INTERVAL: Final = 2.0
"""Seconds between two lines of progress if there is no terminal."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many jobs there are in each status."""

    enqueued: int
    scheduled: int
    executing: int
    retryable: int
    complete: int
    discarded: int
    cancelled: int
    seconds: float
    """Seconds since the jobs were enqueued."""

    @property
    def ended(self) -> int:
        """Number of ended jobs."""
        return self.complete + self.discarded + self.cancelled

    def __str__(self) -> str:
        """Return the text beside the bar."""
        rate = self.ended / self.seconds if self.seconds else 0.0
        return (
            f"scheduled {self.scheduled}  executing {self.executing}  retryable {self.retryable}"
            f"  complete {self.complete}  {rate:.0f}/s"
        )


class Display(Protocol):
    """Shows the progress of the demo within a `with` block."""

    def show(self, tally: Tally) -> None:
        """Show the progress of the jobs."""
        ...

    def say(self, text: str) -> None:
        """Print a line about something that happened."""
        ...

    def __enter__(self) -> Self:
        """Start to show progress."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        ...


class LiveBar:
    """A progress bar that moves, on standard output."""

    def __init__(self) -> None:
        from rich.console import Console  # only a terminal needs these
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(soft_wrap=True),
        )
        self._task = self._progress.add_task("", total=None)

    def show(self, tally: Tally) -> None:
        """Move the bar."""
        self._progress.update(self._task, total=tally.enqueued, completed=tally.ended, description=str(tally))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Self:
        """Start to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


class PlainLines:
    """Plain lines on standard error; standard output is for the figures."""

    def __init__(self) -> None:
        self._shown = 0.0

    def show(self, tally: Tally) -> None:
        """Print a line if the last one is long enough ago."""
        if tally.seconds >= self._shown + LINE_INTERVAL:
            self._shown = tally.seconds
            self.say(f"{tally.ended}/{tally.enqueued}  {tally}")

    def say(self, text: str) -> None:
        """Print a line."""
        sys.stderr.write(text + "\n")

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""
