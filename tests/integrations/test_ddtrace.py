"""Connections under a tracing library that patches the drivers."""

import os
import subprocess
import sys
from pathlib import Path

from tests.postgres import schema_of, server_url

SILENT = {
    "DD_TRACE_AGENT_URL": "unix:///nowhere/agent.sock",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
}


def test_jobs_are_part_of_the_transactions_of_traced_connections(tmp_path: Path) -> None:
    program = Path(__file__).with_name("traced_program.py")
    environment = {**os.environ, **SILENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    done = subprocess.run(
        [sys.executable, str(program), server_url(), str(tmp_path), schema_of(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    kinds = [*["Psycopg3TracedConnection", "TracedSQLite"] * 3, "Psycopg3TracedAsyncConnection", "_TracedConnection"]
    assert [line.split()[1] for line in done.stdout.splitlines()] == [*kinds, "PostgresBackend"]
