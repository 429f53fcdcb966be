"""What applications and backends are tested with.

`FakeClock` stands still until it is moved; `BackendSuite` and `BackendModel` prove a backend. Importing this module
needs neither pytest nor Hypothesis: each name is loaded when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rexecutor.testing.clock import FakeClock
    from rexecutor.testing.suite import BackendSuite
    from rexecutor.testing.suite.model import BackendModel, model_of

__all__ = ["BackendModel", "BackendSuite", "FakeClock", "model_of"]

_HOMES = {
    "BackendModel": "rexecutor.testing.suite.model",
    "BackendSuite": "rexecutor.testing.suite",
    "FakeClock": "rexecutor.testing.clock",
    "model_of": "rexecutor.testing.suite.model",
}


if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> object:
        """Load the name from its module, once."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found: object = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """List the names that can be asked for."""
    return sorted({*globals(), *_HOMES})
