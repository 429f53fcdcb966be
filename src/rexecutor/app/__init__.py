"""The `Rexecutor` and what starts, configures and ends it."""
