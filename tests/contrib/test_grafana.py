"""The Grafana board asks only for what there is, and for all of it."""

import json
import re
from typing import Any

import pytest

from tests.contrib.board import FILE, text
from tests.contrib.promql import OF_PROMETHEUS, asked, exposed, problems

BOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
VARIABLES: dict[str, Any] = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
TARGETS = [
    pytest.param(target, id=f"{panel['title']} {target['refId']}") for panel in PANELS for target in panel["targets"]
]


def query_of(target: dict[str, Any]) -> str:
    return str(target["expr"]).replace("$__rate_interval", "5m")


def test_the_file_is_what_its_script_writes() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run: python -m tests.contrib.board"


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_asks_for_metrics_and_labels_that_there_are(target: dict[str, Any]) -> None:
    assert problems(query_of(target)) == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_panel_obeys_the_variables(target: dict[str, Any]) -> None:
    used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}

    assert used <= set(VARIABLES)
    assert "job" in used
    for one in asked(query_of(target)):
        of_executor = "executor" in exposed()[one.name]
        assert "executor" in one.labels or not of_executor


@pytest.mark.parametrize("target", TARGETS)
def test_the_legend_has_labels_that_the_query_keeps(target: dict[str, Any]) -> None:
    kept = set(re.findall(r"\bby \((.*?)\)", target["expr"]))
    named: list[str] = re.findall(r"{{(\w+)}}", target["legendFormat"])

    assert all(any(label in labels.split(", ") for labels in kept) for label in named)


def test_each_metric_is_on_the_board() -> None:
    used = {one.name for panel in PANELS for target in panel["targets"] for one in asked(query_of(target))}

    assert exposed().keys() - used == set()


def test_the_variables_are_filled_from_metrics_that_there_are() -> None:
    has = exposed()
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found is not None, name
            selector, label = found.groups()
            [one] = asked(selector)
            pattern = one.name or re.findall(r'__name__=~"(.*?)"', selector)[0]
            metrics = [metric for metric in has if re.fullmatch(pattern, metric)]
            assert metrics
            assert any(label in has[metric] | OF_PROMETHEUS for metric in metrics)
            assert variable["definition"] == variable["query"]["query"]


def test_everything_comes_from_the_chosen_data_source() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    sources = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    sources += [variable["datasource"] for variable in VARIABLES.values() if variable["type"] == "query"]

    assert VARIABLES["datasource"]["query"] == "prometheus"
    assert all(source == chosen for source in sources)


def test_panels_have_a_place_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_panels_say_what_they_show() -> None:
    assert [panel["title"] for panel in PANELS if not panel["description"]] == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sum by (executor) (rate(rexecutor_jobs_ended_total[5m]))", []),
        ("sum(rexecutor_jobs_ended)", ["rexecutor_jobs_ended is not exposed"]),
        ("sum by (duty) (rexecutor_jobs_due)", ["rexecutor_jobs_due has no label duty"]),
        ('rexecutor_loop_lag_seconds{executor="x"} > 1', ["rexecutor_loop_lag_seconds has no label executor"]),
        ("rexecutor_jobs_due / on (status) rexecutor_jobs_due", ["rexecutor_jobs_due has no label status"] * 2),
    ],
)
def test_queries_for_what_is_not_there_are_found(query: str, found: list[str]) -> None:
    assert problems(query) == found


@pytest.mark.parametrize("query", ["sum(rate(a[5m])", "rate(a)", "sum by executor (a)", "a[5m] > 1"])
def test_what_is_not_promql_is_found(query: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        problems(query)
