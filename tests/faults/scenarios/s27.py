"""S27: many enqueue the same unique job at the same moment."""

from tests.faults.scenario import Ground, Report, Scenario
from tests.faults.stores import prepare
from tests.faults.unique_rounds import ISOLATIONS, race


async def run(ground: Ground) -> Report:
    """Race in processes; on PostgreSQL also in transactions of each isolation level, half of them rolled back."""
    levels = [None] if "#" not in ground.store else [None, *ISOLATIONS]
    rounds, producers = ground.size(1_000, 20), ground.size(16, 4)
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


SCENARIO = Scenario("S27", "64 producers race for one unique job", ("Unique", "Transactional enqueue"), run)
