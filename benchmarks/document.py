"""Makes the page `docs/performance.md` from its words and from figures: `python -m benchmarks.document [RAW.json …]`.

The words are in `benchmarks/performance.md`. Given the raw figures of runs, it first puts them into
`docs/performance.json`. There, the figures of a workload take the place of earlier ones. So no figure in a table is
typed by hand, and the page says which run each comes from.
"""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.plots import draw
from benchmarks.report import Results
from benchmarks.workloads import WORKLOADS

ROOT: Final = Path(__file__).parent.parent
KEPT: Final = ROOT / "docs" / "performance.json"
WORDS: Final = Path(__file__).with_name("performance.md")
PAGE: Final = ROOT / "docs" / "performance.md"
PICTURES: Final = ROOT / "docs" / "pictures" / "performance"
_ABOUT: Final = ("when", "machine", "options", "servers", "systems")
"""What is kept of the run with each workload's figures."""


def merged(kept: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the kept workloads with those of a run in place of the same."""
    about = {name: raw[name] for name in _ABOUT}
    workloads = {
        name: {
            "figures": raw["figures"].get(name, {}),
            # Of the same run: only such ratios mean something.
            "plain": raw["figures"].get(workload.share_of, {}),
            "left_out": raw["left_out"].get(name, {}),
            **about,
        }
        for name, workload in WORKLOADS.items()
        if name in raw["figures"] or name in raw["left_out"]
    }
    return {name: one for name in WORKLOADS if (one := workloads.get(name, kept.get(name)))}


def results_of(kept: Mapping[str, Any]) -> Results:
    """Return the figures of all kept workloads."""
    results = Results(options={})
    for name, one in kept.items():
        results.figures[name], results.plain[name], results.left_out[name] = (
            one[what] for what in ("figures", "plain", "left_out")
        )
        results.servers |= one["servers"]
        results.systems |= one["systems"]
    return results


def page(words: str, kept: Mapping[str, Any]) -> str:
    """Return the page: the words, with tables and plots for `{measured: workload …}` and settings for `{systems}`."""
    results = results_of(kept)

    def measured(match: re.Match[str]) -> str:
        return "\n\n".join(_one(name, results, kept) for name in match[1].split())

    words = re.sub(r"\{measured: ([a-z0-9_ ]+)\}", measured, words)
    return words.replace("{systems}", _systems(results)).replace("{servers}", _servers(results))


def _one(name: str, results: Results, kept: Mapping[str, Any]) -> str:
    if name not in kept:
        return f"#### {WORKLOADS[name].title} (`{name}`)\n\nNot measured yet."
    one = kept[name]
    rounds = max((len(rounds) for rounds in one["figures"].values()), default=0)
    machine = one["machine"]
    times = "1 round" if rounds == 1 else f"{rounds} rounds"
    source = f"{one['when'][:10]}, {times}, {machine['cores']} cores of {machine['cpu']}"
    picture = f"![{WORKLOADS[name].title}](pictures/performance/{name}.svg)"
    return f"#{results.table(WORKLOADS[name])}\n\n{picture}\n\n*{source}.*"  # below the page's own headings


def _systems(results: Results) -> str:
    rows = ["| system | version | settings |", "| --- | --- | --- |"]
    for name, about in results.systems.items():
        packages = about.get("packages", {})
        version = ", ".join(f"{package} {number}" for package, number in packages.items() if package != "pip")
        rows.append(f"| {name} | {version or 'this repository'} | {about.get('settings', '')} |")
    return "\n".join(rows)


def _servers(results: Results) -> str:
    return "\n".join(
        f"- {name} {about['version']}: {'; '.join(cast('Sequence[str]', about['settings']))}"
        for name, about in results.servers.items()
        if about.get("version")
    )


def main(paths: list[str]) -> None:
    """Store the figures of the given runs, and rewrite the page and its plots."""
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    for path in paths:
        kept = merged(kept, json.loads(Path(path).read_text(encoding="utf-8")))
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    PICTURES.mkdir(parents=True, exist_ok=True)
    draw(results_of(kept), PICTURES)
    PAGE.write_text(page(WORDS.read_text(encoding="utf-8"), kept), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
