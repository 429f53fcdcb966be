"""Answers about a worker that runs, from processes of their own, on each store."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.command_line import Answer
from tests.cli.processes import NODE, Place

APPLICATION = """
import asyncio
from datetime import timedelta

from rexecutor import Executor, Job, Rexecutor, connect

class Slow(Executor[str]):
    name = "slow"
    max_concurrency = 1

    async def execute(self, job: Job[str]) -> None:
        await asyncio.Event().wait()

class Quick(Executor[str]):
    name = "quick"

    async def execute(self, job: Job[str]) -> None:
        if job.data == "bad":
            raise ValueError("bad data")

rexecutor = Rexecutor(connect({url!r}, schema={schema!r}), executors=[Slow, Quick], lease=timedelta(seconds=3))
"""


@pytest.fixture
def worker(place: Place) -> Iterator["subprocess.Popen[bytes]"]:
    (place.folder / "live.py").write_text(APPLICATION.format(url=place.url, schema=place.schema))
    outside = {name: value for name, value in os.environ.items() if not name.startswith("REXECUTOR_")}
    command = [sys.executable, "-m", "rexecutor", "worker", "live:rexecutor"]
    process = subprocess.Popen(command, cwd=place.folder, env=outside, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait(timeout=60)


def until(command: Callable[[], Answer], is_so: Callable[[Answer], object]) -> Answer:
    """Run the command until its answer is as expected, at most thirty times; return that answer."""
    answer = command()
    for _ in range(30):
        if is_so(answer):
            return answer
        answer = command()
    assert is_so(answer), answer
    return answer


def test_a_worker_is_seen_asked_about_paused_and_missed(place: Place, worker: "subprocess.Popen[bytes]") -> None:
    store = place.options
    enqueue = ("jobs", "enqueue", "--data", '"a"', *store)

    def why(job_id: int) -> Answer:
        return place("why", str(job_id), "--json", *store)

    def told() -> list[Any]:
        return [node for node in place("nodes", "--json", *store).json if node["state"] and node["name"] != NODE.name]

    found = told()
    for _ in range(30):
        found = found or told()
    [seen] = found
    assert (seen["is_live"], seen["state"]["pid"], seen["state"]["executors"]) == (True, worker.pid, ["quick", "slow"])

    assert [place(*enqueue, "slow").status, place(*enqueue, "slow").status] == [0, 0]
    until(lambda: why(5), lambda answer: answer.json["reason"] == "executing")
    busy = until(lambda: why(6), lambda answer: answer.json["reason"] == "busy").json
    assert busy["text"].startswith("the only slot of slow on 1 node is busy; the longest for")
    assert f"job 5 on {seen['name']}" in busy["text"]

    assert place("pause", "quick", "--for", "1h", "--reason", "why not", *store).status == 0
    assert place(*enqueue, "quick").status == 0
    assert "quick is paused since" in why(7).json["text"]
    assert place("pause", "--json", *store).json[0]["reason"] == "why not"
    assert place("resume", "quick", *store).out == "quick is resumed\n"
    assert place("resume", "quick", *store).status == 1
    until(lambda: why(7), lambda answer: answer.json["reason"] == "complete")

    stats = {each["executor"]: each for each in place("stats", "--json", *store).json}
    assert (stats["slow"]["executing"], stats["slow"]["waiting"], stats["slow"]["nodes"]) == (1, 1, 1)

    worker.send_signal(signal.SIGKILL)
    worker.wait(timeout=60)
    gone = f"no live node whose name begins with {seen['name']!r}\n"
    lost = until(lambda: place("health", "--node", seen["name"], *store), lambda answer: answer.out == gone)
    assert lost.status == 1
