"""S30: workers are told to end at random moments, by one, two and three signals."""

import asyncio
import random
import signal
from collections import Counter
from dataclasses import replace

from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.shutdowns import Ending, Moment, end_at, forget_all, random_moment
from tests.faults.stores import prepare

LANES = 4
"""Workers that are ended at the same time, each on a store of its own."""
NOISE = ("Traceback", "was never", "outcomes not delivered")
"""What no worker should say."""


async def run(ground: Ground) -> Report:
    """End one worker after the other, in several lanes."""
    chance = random.Random(ground.seed)
    moments = [random_moment(number, chance, ground) for number in range(ground.size(500, 15))]
    lanes = [lane(ground, number, moments[number::LANES]) for number in range(LANES)]
    endings = [ending for found in await asyncio.gather(*lanes) for ending in found]
    report = Report(enqueued=sum(one.enqueued for one in endings))
    report.acknowledged = report.enqueued
    report.lost = sum(one.missing for one in endings if one.signals < 3)
    clean = [one for one in endings if one.status == 0]
    report.figures = {
        "moments": len(endings),
        "by_number_of_signals": [sum(one.signals == number for one in endings) for number in (1, 2, 3)],
        "statuses": dict(Counter(str(one.status) for one in endings)),
        "killed_when_all_was_over": sum(one.status < 0 for one in endings),
        "orphans_after_a_clean_stop": sum(one.executing + one.nodes for one in clean),
    }
    for number, word in ((1, "first"), (2, "second"), (3, "third")):
        took = [one.took for one in endings if one.signals == number]
        report.figures[f"exit_after_{word}_max_s"] = round(max(took, default=0.0), 2)
    wrong: dict[str, list[Ending]] = {}
    for ending in endings:
        for what in faults(ending):
            wrong.setdefault(what, []).append(ending)
    report.wrong = [f"{what}: {len(found)} times, first by {described(found[0])}" for what, found in wrong.items()]
    return report


async def lane(ground: Ground, number: int, moments: list[Moment]) -> list[Ending]:
    """End workers one after the other."""
    store = f"{ground.store}_{number}"
    if "#" in store:
        await prepare(store)
    endings: list[Ending] = []
    for place, moment in enumerate(moments):
        folder = ground.folder / f"{number}-{place}"
        folder.mkdir()
        own = replace(ground, folder=folder, store=store if "#" in store else str(folder / "jobs.db"))
        endings.append(await end_at(moment, own))
        if "#" in store:
            forget_all(store)
    return endings


def faults(ending: Ending) -> list[str]:
    """Return what is not as promised."""
    moment, found = ending.moment, list[str]()
    right = {0} if ending.signals < 3 or ending.was_over else set[int]()
    if ending.signals == 3:
        right.add(128 + moment.signals[2])
    if ending.status not in right:
        when = " when all was over" if ending.was_over else ""
        found.append(f"exit status {ending.status} after {ending.signals} signals{when}")
    most = {1: moment.grace + 5, 2: 6, 3: 6 if ending.was_over else 0.5}[ending.signals]
    if ending.took > most:
        found.append(f"ended {most} s after {ending.signals} signals, or later")
    if ending.was_over or ending.status == 0:
        if ending.executing or ending.nodes:
            found.append(f"left {ending.executing} jobs executing and {ending.nodes} nodes")
        if ending.missing:
            found.append(f"{ending.missing} jobs have lost an attempt, or are gone")
    found += [f"it said {word!r}" for word in NOISE if word in ending.said and not ending.status]
    return found


def described(ending: Ending) -> str:
    """Return the moment in a few words."""
    names = "+".join(one.name for one in ending.moment.signals[: ending.signals])
    job = f" ({ending.moment.job})" if ending.moment.situation == "busy" else ""
    where = f"{ending.moment.situation}{job} after {ending.moment.wait:.3f} s"
    hangs = f"; {ending.said[-2_000:]}" if ending.status == -signal.SIGKILL else ""
    return f"{names} at {where}, gap {ending.moment.gap:.3f} s, grace {ending.moment.grace} s{hangs}"


SCENARIO = Scenario("S30", "workers told to end at random moments", ("Shutdown",), run)
