"""The alert rules ask only for what there is, say what to do, and fire when they should."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.contrib.command_lines import parse
from tests.contrib.promql import OF_PROMETHEUS, asked, exposed, problems

FILE = Path(__file__).parents[2] / "contrib" / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
EACH = pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["alert"]) for rule in RULES])
PROMTOOL = shutil.which("promtool")
NEEDS_PROMTOOL = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: it comes with Prometheus")


def commands_of(rule: dict[str, Any]) -> list[str]:
    return re.findall(r"`(rexecutor .*?)`", rule["annotations"]["description"])


@EACH
def test_a_rule_asks_for_metrics_and_labels_that_there_are(rule: dict[str, Any]) -> None:
    assert problems(rule["expr"]) == []


@EACH
def test_a_rule_has_all_that_its_reader_needs(rule: dict[str, Any]) -> None:
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Rexecutor[A-Z]\w+", rule["alert"])
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert commands_of(rule)


@EACH
def test_its_text_names_only_labels_that_the_alert_has(rule: dict[str, Any]) -> None:
    has = exposed()
    kept = set(OF_PROMETHEUS).union(*has.values())
    for one in asked(rule["expr"]):
        kept &= has[one.name] | OF_PROMETHEUS
    grouped: list[str] = re.findall(r"\bby \((.*?)\)", rule["expr"])
    for labels in grouped:
        kept &= set(labels.split(", "))

    assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= kept


@EACH
def test_its_commands_can_be_run(rule: dict[str, Any]) -> None:
    for line in commands_of(rule):
        filled = re.sub(r"{{.*?}}", "email", line)
        parse(re.sub(r"\bID\b", "7", filled))


@pytest.mark.parametrize(
    "line", ["rexecutor stat", "rexecutor stats --wach", "rexecutor why", "rexecutor jobs list --status lost"]
)
def test_a_command_that_cannot_be_run_is_found(line: str) -> None:
    with pytest.raises(ValueError, match=line):
        parse(line)


def test_each_rule_has_a_name_of_its_own() -> None:
    names = [rule["alert"] for rule in RULES]

    assert len(set(names)) == len(names)


@NEEDS_PROMTOOL
def test_promtool_accepts_the_rules() -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", FILE], capture_output=True, text=True, timeout=60, check=False
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


WELL = {
    'rexecutor_node_slots{job="app", instance="a"}': "10x400",
    'rexecutor_node_running{job="app", instance="a"}': "3x400",
    'rexecutor_jobs_due{job="app", instance="a", executor="mail"}': "5x400",
    'rexecutor_jobs_executing{job="app", instance="a", executor="mail"}': "0x400",
    'rexecutor_oldest_due_seconds{job="app", instance="a", executor="mail"}': "2x400",
    'rexecutor_jobs_started_total{job="app", instance="a", executor="mail"}': "0+10x400",
    'rexecutor_jobs_ended_total{job="app", instance="a", executor="mail", status="complete"}': "0+10x400",
    'rexecutor_jobs_ended_total{job="app", instance="a", executor="mail", status="retryable"}': "0x400",
    'rexecutor_jobs_ended_total{job="app", instance="a", executor="mail", status="discarded"}': "0x400",
    'rexecutor_jobs_stuck_total{job="app", instance="a", executor="mail"}': "0x400",
    'rexecutor_lease_age_seconds{job="app", instance="a"}': "4x400",
    'rexecutor_loop_lag_seconds{job="app", instance="a"}': "0.01x400",
    'rexecutor_leases_lost_total{job="app", instance="a"}': "0x400",
    'rexecutor_jobs_rescued_total{job="app", instance="a"}': "0x400",
    'rexecutor_outcomes_refused_total{job="app", instance="a"}': "0x400",
    'rexecutor_duty_failures_total{job="app", instance="a", duty="claim"}': "1x400",
}
"""Series of 100 minutes, a value each 15 s, with which no alert fires. An executor that is fast never shows up as
executing, and an outage of long ago is over."""

STARTED = 'rexecutor_jobs_started_total{job="app", instance="a", executor="mail"}'
DUE = 'rexecutor_jobs_due{job="app", instance="a", executor="mail"}'
OLDEST = 'rexecutor_oldest_due_seconds{job="app", instance="a", executor="mail"}'
TROUBLES: dict[str, tuple[dict[str, str], set[str]]] = {
    "all is well": ({}, set()),
    "no worker was ever there": (dict.fromkeys(WELL, "_x400"), {"RexecutorNoNode"}),
    "all workers have ended": (
        {name: f"{values.partition('x')[0]}x280 stale" for name, values in WELL.items()},
        {"RexecutorNoNode"},
    ),
    "the node has stopped in a process that goes on": (
        {'rexecutor_node_slots{job="app", instance="a"}': "10x280 0x120"},
        {"RexecutorNoNode"},
    ),
    "another application is there still": (
        {
            **{name: f"{values.partition('x')[0]}x280 stale" for name, values in WELL.items()},
            'rexecutor_node_slots{job="other", instance="b"}': "10x400",
        },
        {"RexecutorNoNode"},
    ),
    "only an application that enqueues goes on": (
        {
            **{name: f"{values.partition('x')[0]}x280 stale" for name, values in WELL.items()},
            'rexecutor_node_slots{job="web", instance="b"}': "0x400",
        },
        {"RexecutorNoNode"},
    ),
    "no node runs the executor": ({STARTED: "_x400"}, {"RexecutorNothingStarts"}),
    "starts have ended": ({STARTED: "0+10x300 3000x100"}, {"RexecutorNothingStarts"}),
    "all slots are busy with long jobs": (
        {
            STARTED: "0+10x300 3000x100",
            'rexecutor_jobs_executing{job="app", instance="a", executor="mail"}': "10x400",
            OLDEST: "0x300 0+15x100",
        },
        {"RexecutorOldestDue"},
    ),
    "the queue grows": ({DUE: "0x150 0+100x250", OLDEST: "0x150 0+1x250"}, {"RexecutorQueueGrows"}),
    "the queue is longer than is counted": ({DUE: "100001x400", OLDEST: "0+0.5x400"}, {"RexecutorQueueGrows"}),
    "many jobs of one moment are worked off": ({DUE: "50000-100x400", OLDEST: "0+0.5x400"}, set()),
    "the queue is long and quick": ({DUE: "2000+1x400"}, set()),
    "attempts fail": (
        {'rexecutor_jobs_ended_total{job="app", instance="a", executor="mail", status="retryable"}': "0+5x400"},
        {"RexecutorErrorRate"},
    ),
    "the first job is discarded": (
        {'rexecutor_jobs_ended_total{job="app", instance="a", executor="mail", status="discarded"}': "0x370 1x30"},
        {"RexecutorDiscards"},
    ),
    "the lease is not renewed": (
        {'rexecutor_lease_age_seconds{job="app", instance="a"}': "4x396 4 19 22"},
        {"RexecutorLeaseAge"},
    ),
    "the lease is lost": (
        {'rexecutor_leases_lost_total{job="app", instance="a"}': "0x390 1x10"},
        {"RexecutorLeaseLost"},
    ),
    "the loop is blocked now and then": (
        {'rexecutor_loop_lag_seconds{job="app", instance="a"}': "0x330 2 0x15 2 0x15 2 0x15 2 0x22"},
        {"RexecutorLoopLag"},
    ),
    "the loop is blocked once": ({'rexecutor_loop_lag_seconds{job="app", instance="a"}': "0x380 2 0x20"}, set()),
    "the loop does not respond": (
        {'rexecutor_loop_lag_seconds{job="app", instance="a"}': "0x392 10+15x8"},
        {"RexecutorLoopBlocked"},
    ),
    "a duty fails for the first time": (
        {'rexecutor_duty_failures_total{job="app", instance="a", duty="settle"}': "_x380 1x20"},
        {"RexecutorDutyFails"},
    ),
    "a duty fails again": (
        {'rexecutor_duty_failures_total{job="app", instance="a", duty="claim"}': "1x380 2x20"},
        {"RexecutorDutyFails"},
    ),
    "jobs were rescued": (
        {'rexecutor_jobs_rescued_total{job="app", instance="a"}': "0x390 3x10"},
        {"RexecutorJobsRescued"},
    ),
    "outcomes were refused": (
        {'rexecutor_outcomes_refused_total{job="app", instance="a"}': "0x390 3x10"},
        {"RexecutorOutcomesRefused"},
    ),
    "a job is stuck": (
        {'rexecutor_jobs_stuck_total{job="app", instance="a", executor="mail"}': "0x390 1x10"},
        {"RexecutorJobsStuck"},
    ),
}
"""Series that differ from those with which all is well, and the alerts that then fire."""


def test_each_rule_fires_in_one_of_the_cases() -> None:
    assert {rule["alert"] for rule in RULES} == {alert for _, alerts in TROUBLES.values() for alert in alerts}


@NEEDS_PROMTOOL
@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_alert_fires_when_it_should(tmp_path: Path, trouble: str) -> None:
    series, alerts = TROUBLES[trouble]
    firing = 'group by (alertname) (ALERTS{alertstate="firing"})'
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)]
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in (WELL | series).items()],
        "promql_expr_test": [{"expr": firing, "eval_time": "100m", "exp_samples": expected}],
    }
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FILE)], "evaluation_interval": "15s", "tests": [case]}))  # pyright: ignore[reportUnknownMemberType] - the stubs of PyYAML are partial

    tested = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, timeout=60, check=False
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr
