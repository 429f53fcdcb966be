"""What all parts of one simulation share."""

from collections import Counter
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Final

from tests.simulation.chance import Chance, chance_of
from tests.simulation.clock import StoreClock
from tests.simulation.cron_checker import CronChecker
from tests.simulation.link import Line
from tests.simulation.loop import SimulationLoop
from tests.simulation.store import Store

ALL_VERBS: Final = frozenset(
    {
        "claim",
        "release_claims",
        "settle",
        "enqueue",
        "change",
        "update",
        "tick",
        "prune",
        "acquire_lock",
        "release_lock",
        "heartbeat",
        "deregister",
    }
)


@dataclass(frozen=True)
class Options:
    """How much is promised, and what may go wrong."""

    late: frozenset[str] = ALL_VERBS
    """Which statements may take effect after their caller has given up."""
    is_cron_strict: bool = True
    """Whether no tick may be missed even if a node that has just started is the first to look after it."""
    knows_skew: bool = True
    """Whether a backend tells due moments by the clock of its own machine."""


class World:
    """The loop, the store, the checker and the trace of one seed, and what the seed has chosen."""

    def __init__(self, seed: int, options: Options) -> None:
        self.seed: Final = seed
        self.options: Final = options
        self.counts: Final[Counter[str]] = Counter()
        self.trace: Final[list[str]] = []
        chance = self.chance("settings", 0)
        self.loop: Final = SimulationLoop(self.chance("order", 0), is_shuffled=chance.random() < 0.5)
        self.outside: Final = copy_context()
        """The context of what belongs to no node."""
        self.lease: Final = timedelta(seconds=chance.choice([3, 3, 3, 6, 30]))
        self.nodes: Final = chance.choice([2, 3, 4])
        self.slots: Final = chance.choice([1, 3, 10])
        self.claims_far_ahead: Final = chance.random() < 0.7
        """Whether the nodes claim more jobs ahead, and keep them for longer, than they do in truth."""
        self.failing = chance.choice([0.0, 0.05, 0.25])
        """How many of the nodes' calls fail in a burst."""
        self.slow = chance.choice([0.0, 0.02, 0.1])
        """How many take long."""
        self.store_clock: Final = StoreClock(self.loop)
        self.checker: Final = CronChecker(self.loop.time, self.tell, self.loop.stop)
        self.checker.is_strict = options.is_cron_strict
        self.store: Final = Store(self.store_clock, self.checker)

    @property
    def patience(self) -> float:
        """After how many seconds a call that hangs fails."""
        return self.lease.total_seconds()

    def line(self, what: str, number: int) -> Line:
        """Return a connection with this seed's quality."""
        line = Line(self.chance(what, number), self.patience, self.counts, self.options.late)
        line.failing, line.slow = self.failing, self.slow
        return line

    def chance(self, what: str, number: int) -> Chance:
        """Return the generator for one subject."""
        return chance_of(self.seed, f"{what}/{number}")

    def tell(self, line: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.loop.time():.6f} {line}")

    def digest(self) -> str:
        """Return a digest of all that happened."""
        return blake2b("\n".join(self.trace).encode(), digest_size=16).hexdigest()
