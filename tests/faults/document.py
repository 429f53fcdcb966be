"""Writes `docs/reliability.md` of its words and of the figures that were kept: `python -m tests.faults.document`.

`make faults` keeps the figures in `docs/faults.jsonl` and then does this, so that no figure in the page is typed.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from tests.faults.processes import ROOT
from tests.faults.scenario import Scenario, scenarios

KEPT: Final = ROOT / "docs" / "faults.jsonl"
WORDS: Final = Path(__file__).with_name("reliability.md")
PAGE: Final = ROOT / "docs" / "reliability.md"

_HEAD: Final = ("scenario", "title", "store", "skipped", "wrong", "seconds", "size", "seed", "day")
_SHOWN: Final = {"recovery_s": "recovery (s)", "late_outcomes": "late outcomes refused"}
MOST_NAMED: Final = 12
"""How many named figures a cell of the table has room for; what has more is in the lines alone."""
Lines = Sequence[Mapping[str, Any]]


def page(words: str, lines: Lines, known: Mapping[str, Scenario]) -> str:
    """Return the page: the words, with proofs put in for `{proofs: topic}` and tables for `{scenarios}`."""
    proofs: dict[str, list[str]] = defaultdict(list)
    for scenario in known.values():
        for topic in scenario.proves:
            proofs[topic].append(scenario.name)
    unknown = [topic for topic in proofs if f"{{proofs: {topic}}}" not in words]
    if unknown:
        raise ValueError(f"scenarios prove what no promise is about: {', '.join(unknown)}")
    for topic, names in proofs.items():
        words = words.replace(f"{{proofs: {topic}}}", ", ".join(f"[{name}](#the-scenarios)" for name in names))
    words = re.sub(r"\{proofs: [^}]*\}(; )?", "", words)  # of topics that tests alone prove
    return words.replace("{scenarios}", table(lines, known)).replace("{summary}", summary(lines))


def table(lines: Lines, known: Mapping[str, Scenario]) -> str:
    """Return the table of scenarios, one row for each store."""
    rows = ["| | fault | store | figures | as promised |", "| --- | --- | --- | --- | --- |"]
    for line in lines:
        title = known[line["scenario"]].title if line["scenario"] in known else line["title"]
        rows.append(f"| {line['scenario']} | {title} | {line['store']} | {figures(line)} | {verdict(line)} |")
    return "\n".join(rows)


def figures(line: Mapping[str, Any]) -> str:
    """Return a line's counts in words."""
    if "skipped" in line:
        return f"not run: {line['skipped']}"
    counts = {name: value for name, value in line.items() if name not in _HEAD}
    size = f"{line['size']} size, seed {line['seed']}, {line['seconds']:.0f} s"
    return "; ".join([*(f"{_SHOWN.get(name, name.replace('_', ' '))} {shown(counts[name])}" for name in counts), size])


def shown(value: Any) -> str:
    """Return a figure as it is read."""
    if isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        if len(named) > MOST_NAMED:
            return f"of {len(named)} kinds"
        return "(" + ", ".join(f"{name}: {shown(each)}" for name, each in named.items()) + ")"
    if isinstance(value, list):
        return "(" + ", ".join(map(shown, cast("list[Any]", value))) + ")"
    return f"{value:,}" if isinstance(value, int | float) else str(value).replace("|", "\\|")


def verdict(line: Mapping[str, Any]) -> str:
    """Return whether it was as promised, and what was not."""
    if "skipped" in line:
        return "not run"
    return "**no**: " + "; ".join(line["wrong"]).replace("|", "\\|") if line["wrong"] else "yes"


def summary(lines: Lines) -> str:
    """Return what the last run came to, in a sentence."""
    ran = [line for line in lines if "skipped" not in line]
    wrong = [line for line in ran if line["wrong"]]
    days = sorted({line["day"] for line in ran})
    when = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "never"
    lost = sum(line.get("lost", 0) for line in ran)
    twice = sum(line.get("duplicate_starts", 0) for line in ran)
    jobs = sum(line.get("acknowledged", 0) for line in ran)
    return (
        f"Last run: {when}; {len(ran)} runs of {len({line['scenario'] for line in ran})} scenarios,"
        f" {len(wrong)} of them not as promised, {len(lines) - len(ran)} skipped. Of {jobs:,} jobs whose enqueue was"
        f" acknowledged {lost:,} were lost, and {twice:,} claims started twice."
    )


def kept() -> list[dict[str, Any]]:
    """Return the lines of the last run."""
    return [json.loads(text) for text in KEPT.read_text().splitlines()]


def made() -> str:
    """Return the page as it should be now."""
    return page(WORDS.read_text(), kept(), scenarios())


if __name__ == "__main__":
    PAGE.write_text(made())
    print(PAGE)
    sys.exit(0)
