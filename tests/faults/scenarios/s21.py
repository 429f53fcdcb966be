"""S21: a schedule on nodes that are killed and paused."""

from tests.faults import cron_rounds
from tests.faults.scenario import Ground, Report, Scenario


async def run(ground: Ground) -> Report:
    """Let several nodes tick each second; kill, replace, stop and continue them."""
    nodes = ground.size(5, 2)
    result = await cron_rounds.run(ground.store, seconds=ground.size(300, 6), nodes=nodes, seed=ground.seed)
    report = Report(figures={name: value for name, value in result.items() if name != "seed"})
    for name in ("missed", "doubled", "unexpected"):
        report.expect(f"{name} is {result[name]}, 0 expected", result[name] == 0)
    return report


SCENARIO = Scenario("S21", "one schedule on nodes that are killed and paused", ("Cron",), run)
