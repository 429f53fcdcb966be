"""Draws the figures as SVG. A page of bars and lines needs no library."""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, log10
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.report import LABELS, Results, number
from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS, Workload

WIDTH: Final = 760
LEFT: Final = 150
BAR: Final = 18
ROW: Final = 26
COLOURS: Final = {"ours": "#2563eb", "bare": "#9ca3af", "postgres": "#0f766e", "sqlite": "#b45309", "redis": "#be123c"}
LINES: Final = ("#2563eb", "#be123c", "#0f766e", "#b45309", "#7c3aed", "#4b5563", "#db2777", "#65a30d")
STYLE: Final = "font-family: system-ui, sans-serif; font-size: 12px"


def draw(results: Results, folder: Path) -> list[Path]:
    """Write a plot for each workload, and return the files."""
    files: list[Path] = []
    for name, systems in results.figures.items():
        workload = WORKLOADS[name]
        values = {system: results.values(name, system, workload.main) for system in systems}
        pictures = {name: bars(workload, values)}
        for figure in ("p99_ms_parts", "dead_rows_parts"):
            parts = {system: some for system in systems if (some := last_list(results, name, system, figure))}
            if parts:
                label = "p99 ms" if figure.startswith("p99") else "dead rows"
                pictures[f"{name}-{figure.removesuffix('_parts')}"] = lines(f"{workload.title}: {label}", parts)
        for file, picture in pictures.items():
            path = folder / f"{file}.svg"
            path.write_text(picture, encoding="utf-8")
            files.append(path)
    return files


def last_list(results: Results, workload: str, system: str, figure: str) -> list[float]:
    """Return a figure that is a list, of the last round."""
    value = results.figures[workload][system][-1].get(figure)
    return value if isinstance(value, list) else []


def bars(workload: Workload, values: Mapping[str, Sequence[float]]) -> str:
    """Return a bar for each system: its median, with a line from the minimum to the maximum."""
    is_rate = workload.main.endswith("per_s")
    ordered = sorted(values, key=lambda system: median(values[system]), reverse=is_rate)
    top = max((max(some) for some in values.values()), default=1.0) or 1.0
    scale = (WIDTH - LEFT - 90) / top
    height = 40 + ROW * len(ordered) + 10
    parts = [text(10, 20, f"{workload.title}: {LABELS[workload.main]}", weight="bold")]
    for place, name in enumerate(ordered):
        some, y = values[name], 34 + ROW * place
        system = SYSTEMS[name]
        colour = COLOURS.get("ours" if system.ours else "bare" if system.bare else system.store, "#4b5563")
        middle = y + BAR / 2
        parts += [
            text(LEFT - 8, middle + 4, name, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{median(some) * scale:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<path d="M{LEFT + min(some) * scale:.1f} {middle}H{LEFT + max(some) * scale:.1f}" stroke="#111827"/>',
            text(LEFT + max(some) * scale + 6, middle + 4, number(median(some))),
        ]
    return page(height, parts)


def lines(title: str, values: Mapping[str, Sequence[float]]) -> str:
    """Return a line for each system over the parts of a run; the scale is logarithmic."""
    height, bottom, left, right = 340, 300, 60, WIDTH - 160
    least = min((one for some in values.values() for one in some if one > 0), default=1.0)
    most = max((one for some in values.values() for one in some), default=1.0)
    low = log10(least) // 1
    high = max(low + 1, ceil(log10(max(most, least))))

    def height_of(value: float) -> float:
        return bottom - (log10(max(value, 10**low)) - low) / (high - low) * (bottom - 40)

    parts = [text(10, 20, title, weight="bold")]
    for power in range(int(low), int(high) + 1):
        y = height_of(10**power)
        parts += [
            f'<path d="M{left} {y:.1f}H{right}" stroke="#e5e7eb"/>',
            text(left - 6, y + 4, f"{10**power:g}", anchor="end"),
        ]
    for place, (name, some) in enumerate(values.items()):
        colour = LINES[place % len(LINES)]
        step = (right - left) / max(1, len(some) - 1)
        points = " ".join(f"{left + step * number:.1f},{height_of(value):.1f}" for number, value in enumerate(some))
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
            text(right + 8, height_of(some[-1]) + 4, name, colour=colour),
        ]
    parts.append(text((left + right) / 2, bottom + 24, "tenths of the run", anchor="middle"))
    return page(height, parts)


def text(
    x: float, y: float, content: str, *, anchor: str = "start", weight: str = "normal", colour: str = "#111827"
) -> str:
    """Return a text."""
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
    return f"<text {at}>{escape(content)}</text>"


def page(height: int, parts: Sequence[str]) -> str:
    """Return the whole picture, on white, so that it can be read on a dark page too."""
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    white = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{STYLE}">{white}{"".join(parts)}</svg>\n'
