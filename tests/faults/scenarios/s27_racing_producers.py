"""S27: many enqueue the same unique job at the same moment.

Processes with several producers each, every producer with a connection of its own, start each round together and
enqueue the same unique job. Exactly one may add it; in transactions of which some are rolled back, one or none.
"""

import asyncio
import json
import sys
from collections import Counter
from typing import Any

from rexecutor.model.where import Everything
from tests.faults.processes import ROOT
from tests.faults.programs.racer import ISOLATIONS, is_undone
from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import backend_at, prepare

PROGRAM = "tests.faults.programs.racer"


async def run(ground: Ground) -> Report:
    """Race in processes; on PostgreSQL also in transactions of each isolation level, half of them rolled back."""
    levels = [None] if "#" not in ground.store else [None, *ISOLATIONS]
    rounds, producers = ground.size(1_000, 6), ground.size(16, 4)
    report = Report(enqueued=0, figures={"rounds": 0, "wrong_rounds": 0, "producers": 4 * producers})
    for place, level in enumerate(levels):
        store = ground.store
        if place:  # each level has tables of its own, for the rounds' keys are the same
            store = f"{store}_{place}"
            await prepare(store)
        result = await race(store, rounds=rounds, processes=4, producers=producers, isolation=level)
        report.enqueued = (report.enqueued or 0) + result["enqueues"]
        report.figures["rounds"] += rounds
        report.figures["wrong_rounds"] += len(result["wrong_rounds"])
    report.expect("each round added exactly one job", report.figures["wrong_rounds"] == 0)
    return report


async def race(
    store: str, *, rounds: int, processes: int, producers: int, isolation: str | None = None
) -> dict[str, Any]:
    """Run all rounds, and return what came of them."""
    command = (sys.executable, "-m", PROGRAM, store, str(rounds), str(producers))
    level = (isolation,) if isolation else ()
    pipe = asyncio.subprocess.PIPE
    racers = [
        await asyncio.create_subprocess_exec(
            *command, str(place * producers), *level, cwd=ROOT, stdin=pipe, stdout=pipe
        )
        for place in range(processes)
    ]
    outputs, inputs = [one.stdout for one in racers], [one.stdin for one in racers]
    dispositions: Counter[str] = Counter()
    wrong: list[int] = []
    wanted = {
        number: int(isolation is None or not all(is_undone(number, place) for place in range(processes * producers)))
        for number in range(rounds)
    }
    try:
        async with asyncio.timeout(60 + 2 * rounds):
            for output in outputs:
                assert output is not None
                assert (await output.readline()).strip() == b"ready"
            for number in range(rounds):
                for line in inputs:
                    assert line is not None
                    line.write(b"go\n")
                found: Counter[str] = Counter()
                ids: set[int] = set()
                for output in outputs:
                    assert output is not None
                    names, known = json.loads(await output.readline())
                    found.update(names)
                    ids |= set(known)
                dispositions += found
                if (found["inserted"], len(ids)) != (wanted[number], wanted[number]):
                    wrong.append(number)
    finally:
        for racer in racers:
            if racer.returncode is None:
                racer.kill()
            await racer.communicate()
    async with backend_at(store) as backend:
        stored = await backend.query(Everything(), limit=rounds * 100)
    per_round = Counter(int(record.data) for record in stored)
    wrong += [number for number in range(rounds) if per_round[number] != wanted[number]]
    return {
        "rounds": rounds,
        "producers": processes * producers,
        "processes": processes,
        "enqueues": dispositions.total(),
        **dispositions,
        "stored": len(stored),
        "wrong_rounds": sorted(set(wrong)),
    }


SCENARIO = Scenario("S27", "64 producers race for one unique job", ("Unique", "Transactional enqueue"), run)
