"""Test helpers for applications and for backends.

For applications: `assert_enqueued` and `refute_enqueued` (`…_sync` without an event loop) check which jobs are in a
store, and `assert_result` what one of them has returned. `perform` runs one executor once, `drain` runs all due jobs,
and `FakeClock` stands still until it is moved.

For backends: `BackendSuite` and `model_of` test that a backend keeps the port's promises.

Each name is loaded on first use, so importing this module needs neither pytest nor Hypothesis.
`from rexecutor.testing import *` leaves out `BackendModel` and `model_of`, which need Hypothesis.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rexecutor.testing.clock import FakeClock
    from rexecutor.testing.draining import Drained, drain
    from rexecutor.testing.enqueued import assert_enqueued, refute_enqueued
    from rexecutor.testing.enqueued_sync import assert_enqueued_sync, refute_enqueued_sync
    from rexecutor.testing.performing import perform
    from rexecutor.testing.results import assert_result, assert_result_sync
    from rexecutor.testing.suite import BackendSuite
    from rexecutor.testing.suite.model import BackendModel as BackendModel
    from rexecutor.testing.suite.model import model_of as model_of

__all__ = [
    "BackendSuite",
    "Drained",
    "FakeClock",
    "assert_enqueued",
    "assert_enqueued_sync",
    "assert_result",
    "assert_result_sync",
    "drain",
    "perform",
    "refute_enqueued",
    "refute_enqueued_sync",
]

_HOMES = {
    "BackendModel": "rexecutor.testing.suite.model",
    "BackendSuite": "rexecutor.testing.suite",
    "Drained": "rexecutor.testing.draining",
    "FakeClock": "rexecutor.testing.clock",
    "assert_enqueued": "rexecutor.testing.enqueued",
    "assert_enqueued_sync": "rexecutor.testing.enqueued_sync",
    "assert_result": "rexecutor.testing.results",
    "assert_result_sync": "rexecutor.testing.results",
    "drain": "rexecutor.testing.draining",
    "model_of": "rexecutor.testing.suite.model",
    "perform": "rexecutor.testing.performing",
    "refute_enqueued": "rexecutor.testing.enqueued",
    "refute_enqueued_sync": "rexecutor.testing.enqueued_sync",
}


if not TYPE_CHECKING:  # otherwise type checkers would accept any misspelt name

    def __getattr__(name: str) -> object:
        """Import a public name from its module on first use."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: object = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """Return the module's names, including those not loaded yet."""
    return sorted({*globals(), *_HOMES})
