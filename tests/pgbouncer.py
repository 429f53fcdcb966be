"""Runs pytest with PgBouncer, in transaction mode, before the PostgreSQL server: `python -m tests.pgbouncer tests/…`.

If PgBouncer is not installed, it says so and does nothing.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Final, Literal, NoReturn, Self

from psycopg.conninfo import conninfo_to_dict

from demo.postgres_server import PostgresServer
from tests import postgres
from tests.faults import quick

PORT: Final = 6432
SECONDS: Final = 20.0
CONFIGURATION: Final = """
[databases]
postgres = host={host} port={server} user=postgres
* = host={host} port={server} user=postgres

[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = {mode}
default_pool_size = 100
max_client_conn = 1000
admin_users = postgres
server_round_robin = 1
"""

NEED_NOTIFICATIONS: Final = (
    "tests/engine/test_cancel_hints.py::test_a_cancel_asked_for_at_another_backend_reaches_the_job_at_once[postgres]",
    "tests/faults/test_scenarios_postgres.py::test_it_holds_what_was_promised[S9]",
)
"""What says that a notification comes, which in transaction mode none does. These alone are left out."""
SCENARIO_SECONDS: Final = 300
"""Seconds that a scenario may take, longer than usual: all jobs are found by polling."""


class PgBouncer:
    """One PgBouncer before a server, on a Unix socket in a folder of its own."""

    def __init__(self, url: str, mode: Literal["session", "transaction"] = "session") -> None:
        """Write its configuration: to lead to the server at the URL."""
        program = installed()
        assert program is not None
        self._program = program
        self._mode = mode
        self.folder: Final = Path(tempfile.mkdtemp(prefix="rexecutor-pgbouncer-"))
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self.url: Final = f"postgresql://postgres@:{PORT}/postgres?host={self.folder}"
        self._configure(url)

    def __enter__(self) -> Self:
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                (self._program, "-q", self.folder / "ini"),
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            self._wait()
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # by a milder signal it waits for transactions to end, which one that hangs never does
        self._process.wait(SECONDS)
        shutil.rmtree(self.folder)

    def lead_to(self, url: str) -> None:
        """Lead new connections to this server. In session mode the others stay where they are until they are closed."""
        self._configure(url)
        self._process.send_signal(signal.SIGHUP)

    def _configure(self, url: str) -> None:
        server = conninfo_to_dict(url)
        text = CONFIGURATION.format(
            host=server["host"], port=PORT, folder=self.folder, mode=self._mode, server=server.get("port", 5432)
        )
        configuration = self.folder / "ini"
        configuration.write_text(text + without_prepared(self._program))
        configuration.chmod(0o644)

    def _wait(self) -> None:
        """Wait until it listens."""
        deadline = time.monotonic() + SECONDS  # noqa: TID251 - processes live in real time
        while True:
            with socket.socket(socket.AF_UNIX) as trial:
                if trial.connect_ex(str(self.folder / f".s.PGSQL.{PORT}")) == 0:
                    return
            if self._process.poll() is not None or time.monotonic() > deadline:  # noqa: TID251
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.02)  # noqa: TID251


def installed() -> str | None:
    """Return the program, if this machine has it."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


def without_prepared(program: str) -> str:
    """Return the setting that lets no prepared statement through. Versions before 1.21 need none."""
    said = subprocess.run((program, "--version"), check=True, capture_output=True, text=True).stdout
    major, minor = re.findall(r"\d+", said)[:2]
    return "max_prepared_statements = 0\n" if (int(major), int(minor)) >= (1, 21) else ""


def main() -> int:
    """Run pytest with these arguments, and return its exit status."""
    if installed() is None:
        print("SKIPPED: pgbouncer is not installed, so nothing was tested through it")  # noqa: T201
        return 0
    signal.signal(signal.SIGTERM, leave)
    version = os.environ.get(postgres.VERSION, "18")
    with PostgresServer(version, postgres.SETTINGS) as server, PgBouncer(server.url, "transaction") as pooler:
        environment = os.environ | {postgres.GIVEN: pooler.url, quick.LIMIT: str(SCENARIO_SECONDS)}
        left_out = [f"--deselect={test}" for test in NEED_NOTIFICATIONS]
        command = (sys.executable, "-m", "pytest", f"--timeout={SCENARIO_SECONDS}", *left_out, *sys.argv[1:])
        return subprocess.run(command, env=environment, check=False).returncode


def leave(number: int, _: FrameType | None) -> NoReturn:
    """End as by Ctrl-C: what was started is ended first."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
