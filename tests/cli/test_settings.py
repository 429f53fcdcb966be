"""Where the options of a command come from: the command line, the environment, and `pyproject.toml`."""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from rexecutor.cli.app import app
from tests.cli.command_line import Run

APPLICATION = """
from rexecutor import Executor, InMemoryBackend, Job, Rexecutor

class Greet(Executor[str]):
    name = "greet"

    async def execute(self, job: Job[str]) -> None: ...

rexecutor = Rexecutor(InMemoryBackend(), executors=[Greet])
"""


@pytest.fixture(autouse=True)
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settled.py").write_text(APPLICATION)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "settled", raising=False)


def settle(folder: Path, *lines: str) -> None:
    (folder / "pyproject.toml").write_text("\n".join(["[tool.rexecutor]", *lines, ""]))


@pytest.mark.parametrize(
    ("flags", "environment", "file", "told"),
    [
        (["--executors", "flag"], "env", "file", "flag"),
        ([], "env", "file", "env"),
        ([], None, "file", "file"),
        ([], "", "file", "file"),
    ],
)
def test_flags_win_over_the_environment_and_that_over_the_file(
    rexecutor: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    environment: str | None,
    file: str,
    told: str,
) -> None:
    settle(tmp_path, f'executors = "{file}"')
    if environment is not None:
        monkeypatch.setenv("REXECUTOR_EXECUTORS", environment)

    answer = rexecutor("worker", "settled:rexecutor", *flags)

    assert f"there is no executor '{told}'" in answer.error


def test_each_option_of_the_worker_has_its_variable() -> None:
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    parameters = {one.opts[0]: one.envvar for one in command.commands["worker"].params}

    del parameters["target"]

    assert parameters == {option: f"REXECUTOR_{option[2:].replace('-', '_').upper()}" for option in parameters}


def test_the_application_may_stand_in_the_environment(rexecutor: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REXECUTOR_APP", "settled:nowhere")

    assert "has no 'nowhere'" in rexecutor("worker").error


def test_the_application_may_stand_in_the_file(rexecutor: Run, tmp_path: Path) -> None:
    settle(tmp_path, 'app = "settled:nowhere"')

    assert "has no 'nowhere'" in rexecutor("worker").error


def test_without_any_of_these_the_application_is_missing(rexecutor: Run) -> None:
    answer = rexecutor("worker")

    assert answer.status == 2
    assert "MODULE:REXECUTOR" in answer.error


def test_a_list_in_the_file_is_one_of_names(rexecutor: Run, tmp_path: Path) -> None:
    settle(tmp_path, 'executors = ["greet", "typo"]')

    assert "there is no executor 'typo'" in rexecutor("worker", "settled:rexecutor").error


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("grace = -1", r"pyproject.toml: .*--grace.*greater than or equal to 0"),
        ('log-level = "loud"', r"pyproject.toml: .*--log-level"),
        ('log_format = "xml"', r"pyproject.toml: .*--log-format"),
        ("executors = { a = 1 }", r"pyproject.toml: executors in \[tool.rexecutor\] must be a text"),
        ("graze = 5", r"pyproject.toml: \[tool.rexecutor\] has no setting 'graze'; did you mean 'grace'\?"),
        ("target = 5", r"pyproject.toml: \[tool.rexecutor\] has no setting 'target'"),
        ("zzz = 5", r"pyproject.toml: \[tool.rexecutor\] has no setting 'zzz'; it may have app, concurrency, "),
        ("grace =", r"pyproject.toml: .*line 2"),
    ],
)
def test_a_setting_that_cannot_work_is_a_misuse_that_names_the_file(
    rexecutor: Run, tmp_path: Path, line: str, told: str
) -> None:
    settle(tmp_path, line)

    answer = rexecutor("worker", "settled:rexecutor")

    assert answer.status == 2
    assert re.search(told, answer.error), answer.error


@pytest.mark.parametrize(
    "content", ["[tool]\nrexecutor = 5", "tool = 'rexecutor'\n", "# rexecutor\n[project]\nname = 'a'"]
)
def test_a_file_without_such_a_table_is_no_misuse_unless_it_is_of_another_type(
    rexecutor: Run, tmp_path: Path, content: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(content)

    error = rexecutor("worker", "settled:nowhere").error

    assert ("must be a table" if "= 5" in content else "has no 'nowhere'") in error


def test_a_file_that_cannot_be_read_as_text_is_a_misuse(rexecutor: Run, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.rexecutor]\napp = '\xff'")

    assert rexecutor("worker").status == 2


def test_help_is_shown_whatever_the_file_holds(rexecutor: Run, tmp_path: Path) -> None:
    settle(tmp_path, "nonsense = 1")

    assert rexecutor("worker", "--help").status == 0


def test_commands_take_the_store_from_the_file(rexecutor: Run, url: str, tmp_path: Path) -> None:
    settle(tmp_path, f'url = "{url}"', 'schema = "ours"', "grace = 5")  # SQLite has no schemas: that counts elsewhere

    assert rexecutor("stats").status == 0
    assert rexecutor("jobs", "show", "1").status == 0


def test_an_error_of_a_value_in_the_environment_names_the_variable(
    rexecutor: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REXECUTOR_GRACE", "soon")

    assert "REXECUTOR_GRACE" in rexecutor("worker", "settled:rexecutor").error


def test_an_error_of_a_worker_that_logs_json_is_a_line_of_json(rexecutor: Run) -> None:
    as_json = rexecutor("worker", "settled:nowhere", "--log-format", "json")
    as_text = rexecutor("worker", "settled:nowhere")

    line = json.loads(as_json.error)
    assert (line["level"], line["logger"]) == ("error", "rexecutor")
    assert "has no 'nowhere'" in line["message"]
    assert as_text.error.startswith("error: ")
