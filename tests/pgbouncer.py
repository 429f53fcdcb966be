"""Runs pytest with PgBouncer, in transaction mode, before the PostgreSQL server: `python -m tests.pgbouncer tests/…`.

Where it is not installed, it says so and does nothing.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from rexecutor.cli.demo.postgres_server import PostgresServer
from tests import postgres

PORT: Final = 6432
SECONDS: Final = 20.0
CONFIGURATION: Final = """
[databases]
* = host={folder} port=5432 user=postgres

[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 100
max_client_conn = 1000
admin_users = postgres
server_round_robin = 1
"""

NEED_NOTIFICATIONS: Final = (
    "tests/engine/test_cancel_hints.py::test_a_cancel_asked_for_at_another_handle_reaches_the_job_at_once[postgres]",
)
"""What says that a notification comes, which in transaction mode none does. These alone are left out."""


@contextmanager
def pooled(server: PostgresServer) -> Generator[str]:
    """Answer the URL of a PgBouncer before the server."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    folder = server.folder
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=PORT) + without_prepared(program))
    configuration.chmod(0o644)
    user = "nobody" if os.geteuid() == 0 else None
    with (folder / "pgbouncer.log").open("wb") as log:
        bouncer = subprocess.Popen(
            (program, "-q", configuration), stdout=log, stderr=log, user=user, cwd=folder, start_new_session=True
        )
    try:
        wait_for(folder / f".s.PGSQL.{PORT}", bouncer)
        yield f"postgresql://postgres@:{PORT}/postgres?host={folder}"
    finally:
        bouncer.kill()  # by a milder signal it waits for transactions to end, which one that hangs never does
        bouncer.wait(SECONDS)


def without_prepared(program: str) -> str:
    """Answer the setting that lets no prepared statement through; before 1.21 there is none, and none goes through."""
    said = subprocess.run((program, "--version"), check=True, capture_output=True, text=True).stdout
    major, minor = re.findall(r"\d+", said)[:2]
    return "max_prepared_statements = 0\n" if (int(major), int(minor)) >= (1, 21) else ""


def wait_for(address: Path, bouncer: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + SECONDS  # noqa: TID251 - processes live in real time
    while True:
        with socket.socket(socket.AF_UNIX) as trial:
            if trial.connect_ex(str(address)) == 0:
                return
        if bouncer.poll() is not None or time.monotonic() > deadline:  # noqa: TID251
            raise RuntimeError((address.parent / "pgbouncer.log").read_text())
        time.sleep(0.02)  # noqa: TID251


def main() -> int:
    """Run pytest with these arguments; answer its exit status."""
    if shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        print("SKIPPED: pgbouncer is not installed, so nothing was tested through it")  # noqa: T201
        return 0
    signal.signal(signal.SIGTERM, leave)
    version = os.environ.get(postgres.VERSION, "18")
    with PostgresServer(version, postgres.SETTINGS) as server, pooled(server) as url:
        environment = os.environ | {postgres.GIVEN: url}
        left_out = [f"--deselect={test}" for test in NEED_NOTIFICATIONS]
        command = (sys.executable, "-m", "pytest", *left_out, *sys.argv[1:])
        return subprocess.run(command, env=environment, check=False).returncode


def leave(number: int, _: FrameType | None) -> NoReturn:
    """End as by Ctrl-C: what was started is ended first."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
