"""Runs an example as its reader does: a server, workers and commands, each in a process of its own.

All processes have ended, with what they have started, when the `with` block is left.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from tests.postgres import run_postgres, schema_of, server_url

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
PATIENCE: Final = 20.0
"""Seconds that anything may take: a start, an answer, a job."""
END_PATIENCE: Final = 10.0
"""Seconds that a process may take to end after SIGTERM, before it is killed."""

T = TypeVar("T")


class Program:
    """A process that runs `python …` in the folder. What it prints is kept in a file."""

    def __init__(self, folder: Path, environment: Mapping[str, str], arguments: tuple[str, ...], log: Path) -> None:
        """Start it, in a session of its own: no signal to the tests reaches it, and one can be sent to all of it."""
        self.arguments: Final = arguments
        self._log = log
        with log.open("wb") as out:
            self.process: Final = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What it has printed so far, to both outputs."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait until it has ended, and return its status: minus the signal's number if one has killed it."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {seconds} s: {self}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        self.process.send_signal(number)

    def press_ctrl_c(self) -> None:
        """Send SIGINT to it and to all that it has started, as a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Kill it (only it), as `kill -9` does, and wait until it is gone."""
        self.process.kill()
        self.ended()

    def end(self) -> None:
        """Have it end by SIGTERM; kill it and what it has started if it does not."""
        self.signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(END_PATIENCE)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # the session is its own
        self.process.wait(END_PATIENCE)

    def __str__(self) -> str:
        """Return its command line, its status and what it has printed."""
        return f"{' '.join(self.arguments)} (status {self.process.poll()}):\n{self.said}"


class Server(Program):
    """A program that answers HTTP."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], arguments: tuple[str, ...], log: Path, port: int
    ) -> None:
        super().__init__(folder, environment, arguments, log)
        self.client: Final = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            timeout=PATIENCE,
            trust_env=False,  # no proxy
            verify=False,  # noqa: S501 - no TLS here, and reading the system's certificates takes a while
        )

    def get(self, path: str) -> httpx.Response:
        """Send a GET request."""
        return self.client.get(path)

    def post(self, path: str, json: object = None) -> httpx.Response:
        """Send a POST request with this JSON."""
        return self.client.post(path, json=json)

    def answers(self) -> bool:
        """Return whether it answers any request."""
        try:
            self.get("/")
        except httpx.TransportError:
            return False
        return True

    def end(self) -> None:
        """Close the client, for a server may wait for its connections; then as any program."""
        self.client.close()
        super().end()


class Programs:
    """The processes of one test. Use it as a context manager."""

    def __init__(self, folder: Path, **environment: str) -> None:
        """Make it for a folder that has an application.

        Args:
            folder: Where the processes run.
            environment: Added to the environment of each. Nothing of rexecutor is inherited from the outside.
        """
        self.folder: Final = folder
        outside = {name: value for name, value in os.environ.items() if not name.startswith("REXECUTOR_")}
        self.environment: Final = outside | {"PYTHONUNBUFFERED": "1"} | environment
        self._logs = folder.with_name(f"{folder.name}-logs")
        self._logs.mkdir()
        self._programs: list[Program] = []
        self._ends = ExitStack()

    @classmethod
    def of_example(cls, name: str, place: Path, **environment: str) -> Self:
        """Make it for a copy of an example, so that what the example writes is written there.

        Args:
            name: The folder in `examples/`.
            place: Where the copy is made.
            environment: As above.
        """
        copy = shutil.copytree(EXAMPLES / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        return cls(copy, **environment)

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all processes, the last first. If the test fails, add what they have printed."""
        self._ends.close()
        if error is not None:
            for program in self._programs:
                error.add_note(str(program))

    def start(self, *arguments: str, **environment: str) -> Program:
        """Start `python …`.

        Args:
            arguments: Of Python, such as `-m`, `rexecutor`, `worker`, `shop.jobs:rexecutor`.
            environment: Added to the environment of this process alone.
        """
        return self._kept(Program(self.folder, self.environment | environment, arguments, self._new_log()))

    def serve(self, *arguments: str, **environment: str) -> Server:
        """Start a server as `start` does, and wait until it answers. `{port}` in an argument becomes a free port."""
        port = free_port()
        filled = tuple(one.replace("{port}", str(port)) for one in arguments)
        server = Server(self.folder, self.environment | environment, filled, self._new_log(), port)
        self._kept(server)
        self.until(server.answers)
        return server

    def worker(self, target: str, *options: str, **environment: str) -> Program:
        """Start `rexecutor worker`, and wait until it has begun to run jobs."""
        worker = self.start("-m", "rexecutor", "worker", target, *options, **environment)
        self.until(lambda: re.search(r"node \S+ \S+ started|started: ", worker.said) is not None)
        return worker

    def run(self, *arguments: str, **environment: str) -> str:
        """Run `python …` to its end, and return what it has printed. It must end with status 0."""
        program = self.start(*arguments, **environment)
        assert program.ended() == 0, str(program)
        return program.said

    def until(self, holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until it holds. Fails if it does not in time."""
        self.wait_for(holds, lambda held: held, seconds)

    def wait_for(self, look: Callable[[], T], is_wanted: Callable[[T], bool], seconds: float = PATIENCE) -> T:
        """Look again and again until what is seen is wanted, and return it. Fails if it does not come in time."""
        deadline = time.monotonic() + seconds  # noqa: TID251 - other processes live in real time
        while not is_wanted(seen := look()):
            if time.monotonic() > deadline:  # noqa: TID251 - as above
                raise AssertionError(f"not in {seconds} s; seen last: {seen!r}")
            time.sleep(0.02)  # noqa: TID251 - as above; and what is asked needs the processor
        return seen

    def _kept(self, program: Program) -> Program:
        self._programs.append(program)
        self._ends.callback(program.end)
        return program

    def _new_log(self) -> Path:
        return self._logs / str(len(self._programs))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def new_database(place: Path) -> str:
    """Create a database for the test with this folder on the run's PostgreSQL server, and return its URL."""
    name = schema_of(place)
    run_postgres(f"CREATE DATABASE {name}")
    return urlsplit(server_url())._replace(path=f"/{name}").geturl()
