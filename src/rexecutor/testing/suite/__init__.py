"""Tests of what every backend must do, shared by all backends: one class a topic, combined in `BackendSuite`."""

from rexecutor.testing.suite.backend_suite import BackendSuite

__all__ = ["BackendSuite"]
