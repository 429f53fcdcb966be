"""Runs pytest with PgBouncer, in transaction mode, before the PostgreSQL server: `python -m tests.pgbouncer tests/…`.

Where it is not installed, it says so and does nothing.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rexecutor.cli.demo.postgres_server import PostgresServer
from tests import postgres

PORT = 6432
SECONDS = 20.0
CONFIGURATION = """
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


@contextmanager
def pooled(server: PostgresServer) -> Generator[str]:
    """Answer the URL of a PgBouncer before the server."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    folder = server.folder
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=PORT))
    configuration.chmod(0o644)
    user = "nobody" if os.geteuid() == 0 else None
    with (folder / "pgbouncer.log").open("wb") as log:
        bouncer = subprocess.Popen((program, "-q", configuration), stdout=log, stderr=log, user=user, cwd=folder)
    try:
        wait_for(folder / f".s.PGSQL.{PORT}", bouncer)
        yield f"postgresql://postgres@:{PORT}/postgres?host={folder}"
    finally:
        bouncer.send_signal(signal.SIGINT)
        bouncer.wait(SECONDS)


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
    version = os.environ.get(postgres.VERSION, "18")
    with PostgresServer(version, postgres.SETTINGS) as server, pooled(server) as url:
        environment = os.environ | {postgres.GIVEN: url}
        command = (sys.executable, "-m", "pytest", *sys.argv[1:])
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
