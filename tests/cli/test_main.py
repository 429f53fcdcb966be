import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command_line import Run

HEAVY = ("asyncio", "msgspec", "psycopg", "sqlite3", "rexecutor.backend", "rexecutor.engine", "rexecutor.testing")


def _python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")} | environment,
    )


def test_help_names_every_command(rexecutor: Run) -> None:
    answer = rexecutor("--help")

    assert answer.status == 0
    assert [name for name in ("worker", "jobs", "stats", "cron", "prune") if name not in answer.out] == []


@pytest.mark.parametrize(
    "command",
    [
        *(["worker"], ["stats"], ["prune"], ["cron"], ["cron", "list"], ["cron", "preview"]),
        *(["jobs"], ["jobs", "list"], ["jobs", "cancel"], ["jobs", "update"]),
    ],
)
def test_every_command_has_help(rexecutor: Run, command: list[str]) -> None:
    answer = rexecutor(*command, "--help")

    assert answer.status == 0
    assert "Usage:" in answer.out


def test_no_command_at_all_shows_the_help_as_a_misuse(rexecutor: Run) -> None:
    answer = rexecutor()

    assert answer.status == 2
    assert "Usage:" in answer.out


def test_python_dash_m_is_the_same_command() -> None:
    answer = _python("-m", "rexecutor", "jobs", "list", REXECUTOR_URL="")

    assert answer.returncode == 2
    assert answer.stderr.startswith("error: no store given: use --url sqlite:///jobs.db")


def test_help_loads_nothing_that_only_commands_need() -> None:
    answer = _python("-X", "importtime", "-m", "rexecutor", "--help")

    loaded = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}
    assert answer.returncode == 0
    assert [name for name in loaded if name.startswith(HEAVY)] == []


def test_the_version_is_printed(rexecutor: Run) -> None:
    answer = rexecutor("--version")

    assert answer.status == 0
    assert answer.out.startswith("rexecutor ")


def test_help_takes_less_than_0_3_seconds() -> None:
    seconds: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert _python("-m", "rexecutor", "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    # Time on the processor, so that other work on the machine does not count.
    assert min(seconds) < 0.3


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_one_line_says_how_to_install_it(tmp_path: Path, missing: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")

    answer = _python("-m", "rexecutor", "stats", PYTHONPATH=str(tmp_path))

    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert "pip install 'rexecutor[cli]'" in answer.stderr


def test_a_reader_that_has_enough_is_no_error(url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    answer = subprocess.run(
        [sys.executable, "-m", "rexecutor", "stats", "--url", url],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=30,
    )
    os.close(writer)

    assert answer.returncode == 1
    assert answer.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_cannot_be_written_is_an_error(url: str) -> None:
    with Path("/dev/full").open("wb") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "rexecutor", "stats", "--url", url],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=30,
        )

    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert b"No space left" in answer.stderr


def test_an_ascii_terminal_gets_what_it_can_show(url: str) -> None:
    answer = _python("-m", "rexecutor", "jobs", "show", "1", "--url", url, PYTHONIOENCODING="ascii")

    assert answer.returncode == 0
    assert r"later \xfc" in answer.stdout
