"""The systemd units: systemd knows their settings, their commands exist, and their times fit each other."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rexecutor.cli.crew import KILL_AFTER
from tests.contrib.command_lines import parse, variables

UNITS = sorted((Path(__file__).parents[2] / "contrib" / "systemd").iterdir())
EACH = pytest.mark.parametrize("unit", [pytest.param(unit, id=unit.name) for unit in UNITS])
SYSTEMD = shutil.which("systemd-analyze")


def settings_of(unit: Path) -> dict[str, str]:
    """The settings of all sections; each name occurs once."""
    found: list[tuple[str, str]] = re.findall(r"^(\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(dict(found)) == len(found)
    return dict(found)


def variables_of(unit: Path) -> dict[str, str]:
    """What it sets, and what its comments say that its file may set."""
    return dict(
        re.findall(r"^(?:#   |Environment=)(REXECUTOR_\w+)=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    )


@EACH
def test_its_commands_can_be_run(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables_of(unit).items():
        monkeypatch.setenv(name, value)

    worker = parse(settings_of(unit)["ExecStart"])
    parse(settings_of(unit)["ExecStartPre"])

    assert worker["target"] == "app:make"
    assert worker["processes"] is not None, "without a supervisor, the SIGHUP of a reload ends the worker"


@EACH
def test_its_variables_are_those_of_the_command_line(unit: Path) -> None:
    assert variables_of(unit).keys() <= variables()


@EACH
def test_it_waits_for_as_long_as_the_supervisor_does(unit: Path) -> None:
    settings = settings_of(unit)
    grace = parse([*settings["ExecStart"].split(), *(() if "app:make" in settings["ExecStart"] else ("app:make",))])[
        "grace"
    ]

    assert isinstance(grace, float)
    assert int(settings["TimeoutStopSec"]) > grace + KILL_AFTER
    assert (settings["KillSignal"], settings["KillMode"]) == ("SIGTERM", "mixed")
    assert settings["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert settings["Restart"] == "always"


def test_an_instance_is_protected_as_the_single_unit_is() -> None:
    of_instance = ("Description", "Environment", "EnvironmentFile", "ExecStartPre", "ExecStart")
    single, instance = [
        {name: value for name, value in settings_of(unit).items() if name not in of_instance} for unit in UNITS
    ]

    assert single == instance
    assert single["ProtectSystem"] == "strict"
    assert single["StateDirectory"] == "rexecutor"


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze is not installed")
@EACH
def test_systemd_accepts_it(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name.replace("@", "@mails")
    copy.write_text(unit.read_text(encoding="utf-8").replace("/srv/app/.venv/bin/rexecutor", sys.executable))

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, timeout=60, check=False
    )

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
