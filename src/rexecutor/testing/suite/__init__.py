"""What every backend must do, tested once for all of them: one class a topic, all of them in `BackendSuite`."""

from rexecutor.testing.suite.backend_suite import BackendSuite

__all__ = ["BackendSuite"]
