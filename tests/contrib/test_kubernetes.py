"""The Kubernetes deployment: its fields are known, its command exists, and its probes and times fit the command."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from tests.contrib.command_lines import parse

FILE = Path(__file__).parents[2] / "contrib" / "kubernetes" / "deployment.yaml"
DEPLOYMENT: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
TEMPLATE: dict[str, Any] = DEPLOYMENT["spec"]["template"]
POD: dict[str, Any] = TEMPLATE["spec"]
[WORKER] = POD["containers"]
[MIGRATE] = POD["initContainers"]
Tree: TypeAlias = "dict[str, Tree] | list[Tree] | str | int | None"

GIVING_BACK = 5
"""Seconds after the grace until jobs that do not end are given back."""
CLOSING = 10
"""Seconds that the application has to close what it has opened."""


def options() -> dict[str, object]:
    return parse([*WORKER["command"], *WORKER["args"]])


def test_it_is_a_deployment_that_finds_its_pods() -> None:
    assert (DEPLOYMENT["apiVersion"], DEPLOYMENT["kind"]) == ("apps/v1", "Deployment")
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == TEMPLATE["metadata"]["labels"]


def test_its_commands_can_be_run() -> None:
    assert options()["target"] == "app:make"
    parse(MIGRATE["command"])


def test_probes_and_prometheus_ask_where_the_worker_answers() -> None:
    [port] = WORKER["ports"]
    notes = TEMPLATE["metadata"]["annotations"]

    assert options()["health_port"] == port["containerPort"] == int(notes["prometheus.io/port"])
    assert options()["health_host"] == "0.0.0.0"  # noqa: S104 - the probes come from outside
    assert WORKER["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert WORKER["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert (notes["prometheus.io/scrape"], notes["prometheus.io/path"]) == ("true", "/metrics")


def test_an_outage_of_less_than_a_minute_restarts_no_worker() -> None:
    probe = WORKER["livenessProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_it_is_killed_only_after_all_that_a_worker_may_take_to_end() -> None:
    grace = options()["grace"]

    assert isinstance(grace, float)
    assert POD["terminationGracePeriodSeconds"] > grace + GIVING_BACK + CLOSING
    assert "lifecycle" not in WORKER, "a preStop hook's time has to be added"


def test_settings_come_from_a_secret_for_both() -> None:
    assert WORKER["envFrom"] == MIGRATE["envFrom"] == [{"secretRef": {"name": "app"}}]
    assert WORKER["image"] == MIGRATE["image"]


@pytest.mark.parametrize("container", [WORKER, MIGRATE], ids=lambda container: str(container["name"]))
def test_a_container_has_limits_and_no_rights(container: dict[str, Any]) -> None:
    assert container["resources"].keys() == {"requests", "limits"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["securityContext"]["runAsNonRoot"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_knows_each_field(tmp_path: Path) -> None:
    """Without a server, kubectl still reads an object by its types, and drops the fields that it does not know."""
    command = ["kubectl", "annotate", "--local", "--filename", FILE, "--output", "json", "read=yes"]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)}

    read = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)

    assert read.returncode == 0, read.stderr
    assert missing(DEPLOYMENT, json.loads(read.stdout)) == []


def missing(wanted: Tree, found: Tree) -> list[str]:
    """The values of one, each with its path, that the other does not have."""
    return sorted(leaves(wanted) - leaves(found))


def leaves(value: Tree, path: str = "") -> set[str]:
    if not isinstance(value, dict | list):
        return {f"{path}={value!r}"}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return {leaf for name, part in parts for leaf in leaves(part, f"{path}/{name}")} or {f"{path} is empty"}


def test_a_field_that_is_lost_is_found() -> None:
    assert missing({"a": [{"b": 1, "c": 2}], "d": 3}, {"a": [{"b": 2}], "d": 3}) == ["/a/0/b=1", "/a/0/c=2"]
