"""Every script in `examples/` runs as its reader would run it, and prints what it promises."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

EXAMPLES: Final = Path(__file__).parents[2] / "examples"

PRINTED: Final = {
    "cron_jobs.py": [
        "Sat 00:00 UTC, 01:00 in Berlin: midnight in UTC",
        "Sat 01:30 UTC, 02:30 in Berlin: half past two in Berlin",
        "Sun 00:00 UTC, 01:00 in Berlin: midnight in UTC",
        "Sun 01:00 UTC, 03:00 in Berlin: half past two in Berlin",
        "Mon 00:00 UTC, 02:00 in Berlin: midnight in UTC",
        "Mon 00:30 UTC, 02:30 in Berlin: half past two in Berlin",
        "after work: Fri 03 April 17:00, Fri 10 April 17:00, Fri 17 April 17:00",
    ],
    "define_and_enqueue.py": [
        "enqueued job 1",
        "found: send_email, scheduled, at most 2 attempts",
        "to ann@example.com: hello",
        "called: 5 characters",
    ],
    "enqueueing_jobs.py": [
        "found 'First job', 2 attempts, tags initial_job, delayed",
        "enqueued 100 jobs at once",
        "the first of those: First job, guest 1, guest 2",
        "priority 3, now 0",
        "cancelled: cancelled",
    ],
    "global_backend.py": [
        "reminded ann",
        "a second time: a global backend is set already: stop the Rexecutor that set it first",
        "bob's job is in the test's backend alone",
        (
            "after the end: no backend: give one (`backend=…`), call `set_global_backend()` on a Rexecutor (whose"
            " shutdown withdraws it), or use `override_global_backend(…)` or the fixture `rexecutor_backend` in a test"
        ),
    ],
    "graceful_shutdown.py": [
        "after the block: complete",
        "after a shutdown with 0.1 s: scheduled, 0 attempts used",
    ],
    "overriding_defaults.py": [
        "usual: inserted, 3 attempts",
        "again: existing, monday.csv",
        "special: inserted, 1 attempt",
    ],
    "pruning_jobs.py": [
        "before: 9 email_scheduler discarded, 9 refresh_worker complete",
        "after:  3 email_scheduler discarded, 9 refresh_worker complete",
    ],
    "running_jobs.py": [
        "order 1: complete after 1 attempts, no errors",
        "order 2: cancelled after 1 attempts, card declined",
        "order 3: discarded after 3 attempts, ConnectionError: the gateway does not respond",
    ],
    "separate_nodes.py": [
        "small node: refresh account 7",
        "big node: resize cat.png",
    ],
    "unique_jobs.py": [
        "inserted, then replaced: the same job: True",
        "one job, now with priority 7",
        "welcome ann: inserted",
        "welcome bob: inserted",
        "welcome ann: existing",
        "without criteria: inserted",
    ],
    "web_application.py": [
        "HTTP/1.1 202 Accepted: 1",
        "HTTP/1.1 202 Accepted: 2",
        "small cat.png",
        "HTTP/1.1 200 OK: complete, small dog.png",
    ],
}
"""Script → its lines."""


def test_every_example_is_here_and_in_the_list() -> None:
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")

    assert names == sorted(PRINTED)
    assert [name for name in names if f"[{name}]({name})" not in listed] == []


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_shows_and_nothing_else(name: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1"},
        encoding="utf-8",
        timeout=30,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == PRINTED[name]
    assert list(tmp_path.iterdir()) == []
