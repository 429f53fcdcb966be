"""The Dockerfile: its instructions are known, its command exists, and its health check says what the worker says."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contrib.command_lines import parse

FILE = Path(__file__).parents[2] / "contrib" / "docker" / "Dockerfile"
KNOWN = {
    *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "ONBUILD", "RUN"),
    *("SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, in order."""
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def last(name: str) -> str:
    """The arguments of the last instruction of this name, which is the one that counts."""
    return [rest for each, rest in instructions() if each == name][-1]


def probe() -> list[str]:
    words: list[str] = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    return words


def test_it_has_only_instructions_that_there_are() -> None:
    names = [name for name, _ in instructions()]

    assert set(names) <= KNOWN
    assert names[0] == "FROM"


def test_its_command_can_be_run() -> None:
    options = parse(json.loads(last("CMD")))

    assert options["target"] == "app:make"
    assert str(options["health_file"]) in probe()[-1]


def test_it_runs_as_a_user_without_rights_and_is_told_to_stop() -> None:
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", last("USER"))
    assert last("STOPSIGNAL") == "SIGTERM"


def test_it_names_no_package_index() -> None:
    text = FILE.read_text(encoding="utf-8")

    assert "index" not in text
    assert "://" not in text.replace("postgresql://", "")


@pytest.mark.parametrize(("age", "status"), [(0, 0), (60, 1), (None, 1)], ids=["fresh", "old", "missing"])
def test_its_health_check_is_about_the_age_of_the_file(age: int | None, status: int, tmp_path: Path) -> None:
    file = tmp_path / "healthy"
    if age is not None:
        file.touch()
        written = file.stat().st_mtime - age
        os.utime(file, (written, written))

    in_the_image = str(parse(json.loads(last("CMD")))["health_file"])
    words = [word.replace(in_the_image, str(file)) for word in probe()]

    assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == status


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_accepts_it() -> None:
    checked = subprocess.run(["hadolint", FILE], capture_output=True, text=True, timeout=60, check=False)

    assert (checked.returncode, checked.stdout) == (0, "")
