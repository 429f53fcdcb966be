"""`Cases`: turns coroutines that take a `Store` into plain tests that take pytest's `tmp_path`."""

import asyncio
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, cast

from rexecutor.backend.base import Backend
from rexecutor.testing.clock import FakeClock
from rexecutor.testing.suite.store import Store

CASE_TIMEOUT: Final = 60.0
"""Seconds of real time after which a case counts as hanging."""

_Case: TypeAlias = "Callable[[Cases, Store], Coroutine[Any, Any, None]]"


class Cases(ABC):
    """Base of a class of cases. Each coroutine named `test…` runs in its own event loop, with its own store."""

    shares_store: ClassVar[bool] = False
    """Whether two backends opened on one `store` folder see the same jobs, at the same time and after reopening."""

    @abstractmethod
    def open_backend(self, clock: FakeClock, store: Path) -> Backend:
        """Return a new backend, not open yet, that runs on the clock and keeps its jobs in the folder."""

    def __init_subclass__(cls) -> None:
        """Turn the class's coroutines into tests."""
        super().__init_subclass__()
        for name, member in list(vars(cls).items()):
            if name.startswith("test") and inspect.iscoroutinefunction(member):
                setattr(cls, name, _as_test(cast("_Case", member)))

    async def play(self, case: _Case, folder: Path) -> None:
        """Run one case. Fail if it takes longer than `CASE_TIMEOUT`."""
        clock = FakeClock()

        def open_backend() -> Backend:
            return self.open_backend(clock, folder)

        async with open_backend() as backend:
            store = Store(backend, clock, open_backend, shares_store=self.shares_store)
            try:
                playing = asyncio.ensure_future(case(self, store))
                done, _ = await asyncio.wait((playing,), timeout=CASE_TIMEOUT)
                if not done:
                    playing.cancel()
                    raise AssertionError(f"the case hangs: it has not ended after {CASE_TIMEOUT} s")
                playing.result()
            finally:
                store.close()


def _as_test(case: _Case) -> Callable[[Cases, Path], None]:
    def test(self: Cases, tmp_path: Path) -> None:
        with asyncio.Runner() as runner:
            runner.run(self.play(case, tmp_path))

    # pytest takes the names of fixtures from `__signature__`; without it, pytest would unwrap the test and read the
    # coroutine's. It is read before `update_wrapper` copies the case's annotations, which may not exist at run time.
    signature = inspect.signature(test)
    functools.update_wrapper(test, case)
    vars(test)["__signature__"] = signature
    return test
