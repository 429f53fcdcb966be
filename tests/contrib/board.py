"""Writes `contrib/grafana/rexecutor.json`, the Grafana board: `python -m tests.contrib.board`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parents[2] / "contrib" / "grafana" / "rexecutor.json"

_SCHEMA: Final = 41  # of Grafana 12; Grafana converts older boards, and 10 and 11 read this one
_COLUMNS: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

PROCESS: Final = 'job=~"$job",instance=~"$instance"'
"""Selects the series of the chosen processes."""
OF: Final = f'{PROCESS},executor=~"$executor"'
"""Selects their series of the chosen executors."""
STORE: Final = 'job=~"$job",executor=~"$executor"'
"""Selects what each node says of the store: it is the same on all of them, so the instance does not matter."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph, or a number if it is small."""

    title: str
    help: str
    queries: dict[str, str]
    """Expression by legend."""
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    is_stacked: bool = False
    limit: float | None = None
    """The value from which it is red."""


def _per_second(metric: str, by: str = "", of: str = OF) -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{of}}}[$__rate_interval]))"


def _increase(metric: str, by: str = "", of: str = PROCESS) -> str:
    return f"sum{f' by ({by})' if by else ''} (increase({metric}{{{of}}}[$__rate_interval]))"


def _quantile(share: float, metric: str) -> str:
    return f"histogram_quantile({share}, {_per_second(f'{metric}_bucket', 'le, executor')})"


def _of_store(metric: str, by: str = "executor") -> str:
    return f"max by ({by}) ({metric}{{{STORE}}})"


_FAILED: Final = OF + ',status=~"retryable|discarded"'
_TRIED: Final = OF + ',status=~"complete|retryable|discarded"'

ROWS: Final[dict[str, list[Panel]]] = {
    "Now": [
        Panel(
            "Due",
            "Jobs whose time has come and that nobody has started.",
            {"": f"sum({_of_store('rexecutor_jobs_due')})"},
            width=4,
            kind="stat",
        ),
        Panel(
            "Oldest due",
            "For how long the first of them has been due.",
            {"": f"max({_of_store('rexecutor_oldest_due_seconds')})"},
            "s",
            width=4,
            kind="stat",
            limit=300,
        ),
        Panel(
            "Executing",
            "Jobs that execute, on any node.",
            {"": f"sum({_of_store('rexecutor_jobs_executing')})"},
            width=4,
            kind="stat",
        ),
        Panel(
            "Slots",
            "Jobs that all nodes together may run at a time.",
            {"": f"sum(rexecutor_node_slots{{{PROCESS}}})"},
            width=4,
            kind="stat",
        ),
        Panel(
            "Ended",
            "Attempts that ended a second.",
            {"": _per_second("rexecutor_jobs_ended_total")},
            "ops",
            width=4,
            kind="stat",
        ),
        Panel(
            "Failed",
            "Share of the attempts that failed.",
            {
                "": f"{_per_second('rexecutor_jobs_ended_total', of=_FAILED)}"
                f" / {_per_second('rexecutor_jobs_ended_total', of=_TRIED)}"
            },
            "percentunit",
            width=4,
            kind="stat",
            limit=0.1,
        ),
    ],
    "Throughput": [
        Panel(
            "Attempts that ended, by status",
            "complete, retryable (failed, will be tried again), discarded (failed for the last time), cancelled,"
            " expired, snoozed, interrupted (by a shutdown or a lost lease).",
            {"{{status}}": _per_second("rexecutor_jobs_ended_total", "status")},
            "ops",
            is_stacked=True,
        ),
        Panel(
            "Attempts that ended, by executor",
            "All statuses together.",
            {"{{executor}}": _per_second("rexecutor_jobs_ended_total", "executor")},
            "ops",
            is_stacked=True,
        ),
        Panel(
            "Enqueued and started",
            "Enqueued counts only what processes with these metrics enqueue: the workers, and applications that"
            " subscribe them. existing and replaced are unique jobs that were there already.",
            {
                "enqueued: {{disposition}}": _per_second("rexecutor_jobs_enqueued_total", "disposition"),
                "started": _per_second("rexecutor_jobs_started_total"),
            },
            "ops",
        ),
    ],
    "Failures": [
        Panel(
            "Failed attempts",
            "Attempts that raised, timed out or could not be decoded, whether they are tried again or not.",
            {"{{executor}}": _per_second("rexecutor_jobs_ended_total", "executor", _FAILED)},
            "ops",
        ),
        Panel(
            "Share of attempts that failed",
            "Of those that completed or failed.",
            {
                "{{executor}}": f"{_per_second('rexecutor_jobs_ended_total', 'executor', _FAILED)}"
                f" / {_per_second('rexecutor_jobs_ended_total', 'executor', _TRIED)}"
            },
            "percentunit",
            limit=0.1,
        ),
        Panel(
            "Discarded",
            "Jobs that failed for the last time: rexecutor jobs list --status discarded --newest",
            {"{{executor}}": _increase("rexecutor_jobs_ended_total", "executor", OF + ',status="discarded"')},
        ),
    ],
    "Times": [
        Panel(
            f"{what}, p{share * 100:.0f}",
            f"{explained} {percent} of the attempts took at most this long.",
            {"{{executor}}": _quantile(share, metric)},
            "s",
            width=6,
        )
        for what, metric, explained in (
            ("Wait", "rexecutor_job_wait_seconds", "From when a job was due until its code began."),
            ("Run", "rexecutor_job_run_seconds", "The time of the job's own code."),
        )
        for share, percent in ((0.5, "Half"), (0.99, "99 of 100"))
    ]
    + [
        Panel(
            "Mean wait and run time",
            "Mean of all attempts of the chosen executors.",
            {
                what: f"{_per_second(f'{metric}_sum')} / {_per_second(f'{metric}_count')}"
                for what, metric in (("wait", "rexecutor_job_wait_seconds"), ("run", "rexecutor_job_run_seconds"))
            },
            "s",
            width=12,
        ),
        Panel(
            "Slots that run time keeps busy",
            "Seconds of run time a second: as many slots are busy on average.",
            {"{{executor}}": _per_second("rexecutor_job_run_seconds_sum", "executor")},
            width=12,
            is_stacked=True,
        ),
    ],
    "Queues": [
        Panel(
            title,
            explained,
            {"{{executor}}": _of_store(metric)},
            unit,
            width=6,
            limit=limit,
        )
        for title, metric, explained, unit, limit in (
            (
                "Waiting",
                "rexecutor_jobs_waiting",
                "Due or not. A very large queue is not counted to its end.",
                "short",
                None,
            ),
            (
                "Due",
                "rexecutor_jobs_due",
                "Their time has come. A very large queue is not counted to its end.",
                "short",
                None,
            ),
            ("Oldest due", "rexecutor_oldest_due_seconds", "For how long the first has been due.", "s", 300),
            ("Executing", "rexecutor_jobs_executing", "On any node.", "short", None),
        )
    ],
    "Nodes": [
        Panel(
            "Executing against slots",
            "Of each process. If both lines are one, there are too few slots, or too slow jobs.",
            {
                "{{instance}} runs": f"sum by (instance) (rexecutor_node_running{{{PROCESS}}})",
                "{{instance}} slots": f"sum by (instance) (rexecutor_node_slots{{{PROCESS}}})",
            },
        ),
        Panel(
            "Lease age",
            "Since the lease was last renewed: at most 5 s as a rule, with a lease of 30 s. At 25 s the node stops its"
            " work.",
            {"{{instance}}": f"max by (instance) (rexecutor_lease_age_seconds{{{PROCESS}}})"},
            "s",
            limit=25,
        ),
        Panel(
            "Loop lag",
            "How long the event loop took to respond. Code that does not await holds up all jobs of the process.",
            {"{{instance}}": f"max by (instance) (rexecutor_loop_lag_seconds{{{PROCESS}}})"},
            "s",
            limit=1,
        ),
        Panel(
            "Trouble of nodes",
            "Outages of duties such as claim or settle, lost leases, and event loops that were blocked for a second.",
            {
                "duty fails: {{duty}}": _increase("rexecutor_duty_failures_total", "duty"),
                "lease lost": _increase("rexecutor_leases_lost_total"),
                "loop blocked": _increase("rexecutor_loop_blocked_total"),
            },
        ),
        Panel(
            "Trouble of jobs",
            "Rescued: a node was lost with them. Refused: the job had been taken away before its outcome came, so it"
            " ran twice. Stuck: it does not stop when it is told to, and holds its slot.",
            {
                "rescued": _increase("rexecutor_jobs_rescued_total"),
                "outcome refused": _increase("rexecutor_outcomes_refused_total"),
                "stuck: {{executor}}": _increase("rexecutor_jobs_stuck_total", "executor", OF),
            },
        ),
        Panel(
            "Expired and pruned",
            "Waiting jobs that were cancelled because they were too late, and ended jobs that were deleted.",
            {
                "expired": _increase("rexecutor_jobs_expired_total"),
                "pruned: {{status}}": _increase("rexecutor_jobs_pruned_total", "status"),
            },
        ),
    ],
}
"""The panels, by the title of their row."""


def board() -> dict[str, Any]:
    """Return the board, as Grafana imports it."""
    return {
        "title": "rexecutor",
        "uid": "rexecutor",
        "description": "Jobs, queues and nodes of rexecutor. contrib/grafana of its source has this board.",
        "tags": ["rexecutor"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": list(_panels()),
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "type": "datasource", "label": "Data source", "query": "prometheus", "regex": ""}
    return [
        source,
        _variable("job", "Job", "label_values(rexecutor_node_slots, job)"),
        _variable("instance", "Instance", 'label_values(rexecutor_node_slots{job=~"$job"}, instance)'),
        _variable("executor", "Executor", 'label_values({__name__=~"rexecutor_jobs_.+",job=~"$job"}, executor)'),
    ]


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for title, panels in ROWS.items():
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        number, top, left = number + 1, top + 1, 0
        for panel in panels:
            height = 4 if panel.kind == "stat" else 8
            if left + panel.width > _COLUMNS:
                left, top = 0, top + height
            place = {"x": left, "y": top, "w": panel.width, "h": height}
            yield {"id": number, "gridPos": place, **_shown(panel)}
            number, left = number + 1, left + panel.width
        top += 4 if panels[-1].kind == "stat" else 8


def _shown(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "stat":
        options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    else:
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 30 if panel.is_stacked else 0,
            "stacking": {"mode": "normal" if panel.is_stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "off" if panel.limit is None else "dashed"},
        }
    targets = [
        {"refId": chr(ord("A") + place), "datasource": _SOURCE, "expr": query, "legendFormat": legend or "__auto"}
        for place, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": targets,
    }


def text() -> str:
    """Return what the file holds."""
    return json.dumps(board(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
