"""Runs a command in a real terminal of 80 columns, and reads what its screen shows."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pyte

COLUMNS: Final = 80
LINES: Final = 60
SECONDS: Final = 100.0
"""How long a command may take."""


class Terminal:
    """A command that runs in a terminal."""

    def __init__(
        self, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, module: str = "rexecutor"
    ) -> None:
        """Start the module with the arguments in the folder."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("REXECUTOR_")}
        outside.pop("COLUMNS", None)
        program = folder / "rexecutor"  # so that messages name it so
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rexecutor "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        outside["PATH"] = f"{folder}:{outside['PATH']}"
        outside |= {"TERM": "xterm-256color", "NO_COLOR": "1"} | dict(environment or {})
        self._reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.process: Final = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=outside,
            stdin=writer,
            stdout=writer,
            stderr=writer,
            start_new_session=True,
        )
        os.close(writer)
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def shown(self) -> str:
        """The lines on the screen, without empty ones at the end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip() + "\n"

    def answer(self, question: str, typed: str) -> None:
        """Type an answer and a line break when the cursor stands one blank after the question."""
        self.read_until(lambda _: self._before_cursor.endswith(f"{question} "))
        os.write(self._reader, f"{typed}\n".encode())

    @property
    def _before_cursor(self) -> str:
        cursor = self._screen.cursor
        return self._screen.display[cursor.y][: cursor.x]

    def read_until(self, seen: Callable[[str], object]) -> str:
        """Read until the screen shows it; return the screen."""
        deadline = time.monotonic() + SECONDS  # noqa: TID251 - a process has its own time
        while not seen(self.shown):
            assert time.monotonic() < deadline, self.shown  # noqa: TID251 - as above
            if not self._read():
                break
        assert seen(self.shown), self.shown
        return self.shown

    def end(self) -> tuple[int, str]:
        """Read until the command has ended; return its exit status, and the screen."""
        while self._read():
            pass
        os.close(self._reader)
        return self.process.wait(timeout=SECONDS), self.shown

    def _read(self) -> bool:
        if not select.select([self._reader], [], [], SECONDS)[0]:
            return False
        try:
            output = os.read(self._reader, 65_536)
        except OSError:  # the other end is closed
            return False
        self._stream.feed(output)
        return bool(output)


def steady(screen: str, folder: Path) -> str:
    """Return the screen with moments and the folder's name replaced by letters of the same number."""
    path = "\n?".join(map(re.escape, str(folder)))  # it may be broken at the end of a line
    screen = re.sub(path, lambda found: re.sub("[^\n]", "F", found[0]), screen)
    screen = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|\d\d:\d\d:\d\d UTC", lambda found: _filled(found, "T"), screen)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", lambda found: _filled(found, "T"), screen)


def _filled(found: "re.Match[str]", letter: str) -> str:
    return letter * len(found[0])
