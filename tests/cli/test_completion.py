"""Completion in bash, zsh and fish."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LINE = "rexecutor jobs list --status dis"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which `rexecutor` is on the path."""
    program = tmp_path / "rexecutor"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rexecutor "$@"\n')
    program.chmod(0o755)
    return dict(os.environ) | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def output(environment: dict[str, str], *words: str) -> str:
    ended = subprocess.run(words, env=environment, text=True, capture_output=True, check=False, timeout=100)
    assert ended.returncode == 0, ended
    return ended.stdout


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("rexecutor jobs li", ["list"]),
        ("rexecutor jobs list --lim", ["--limit"]),
        ("rexecutor jobs list --status dis", ["discarded"]),
        ("rexecutor worker app:rexecutor --log-level w", ["warning"]),
    ],
)
def test_bash_completes_commands_options_and_values(
    environment: dict[str, str], line: str, completed: list[str]
) -> None:
    words = line.split()
    script = (
        'eval "$(rexecutor --show-completion)"\n'
        f"COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}\n"
        '_rexecutor_completion rexecutor\necho "${COMPREPLY[@]}"'
    )

    assert output(environment, "bash", "--norc", "-c", script).split() == completed


def test_bash_completes_after_the_next_start_when_it_is_installed(environment: dict[str, str], tmp_path: Path) -> None:
    output(environment, "bash", "--norc", "-c", "rexecutor --install-completion; exit $?")

    shown = output(environment, "bash", "--norc", "-c", "source ~/.bashrc; complete -p rexecutor")
    assert "_rexecutor_completion" in shown


@pytest.mark.parametrize(("shell", "answer"), [("zsh", '"discarded"'), ("fish", "discarded")])
def test_zsh_and_fish_are_answered_too(environment: dict[str, str], shell: str, answer: str) -> None:
    asked = {
        "_REXECUTOR_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": LINE,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }

    shown = output(environment | asked, "rexecutor")

    assert answer in shown
    assert "complete" not in shown.replace("_complete", "")
