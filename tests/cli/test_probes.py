"""What answers probes, whatever it is told to answer."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from rexecutor import Health, HealthStatus
from rexecutor.cli import probes
from rexecutor.cli.failure import FailedError
from rexecutor.cli.probes import STARTING, Report, answered_probes, report_of
from rexecutor.telemetry.events import DutyFailed, DutyRecovered
from tests.support import Events, until

WELL = report_of(Health(HealthStatus.RUNNING))
ILL = report_of(Health(HealthStatus.RUNNING, ("the lease is lost",)))
STOPPING = report_of(Health(HealthStatus.STOPPING))


class Told:
    """A report that can be changed."""

    def __init__(self, report: Report = WELL) -> None:
        self.report = report

    def __call__(self) -> Report:
        return self.report


def asked(url: str, method: str = "GET") -> tuple[int, str, str]:
    """The status, the media type and the body."""
    try:
        with urlopen(Request(url, method=method), timeout=20) as answer:  # noqa: S310 - a server of this test
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def url(told: Told) -> Iterator[str]:
    with answered_probes(told, file=None, host="127.0.0.1", port=0) as url:
        assert url is not None
        yield url


@pytest.mark.parametrize(
    ("report", "statuses"), [(WELL, (200, 200)), (STARTING, (200, 503)), (STOPPING, (200, 503)), (ILL, (503, 503))]
)
def test_health_and_readiness_are_told_by_the_status(
    told: Told, url: str, report: Report, statuses: tuple[int, int]
) -> None:
    told.report = report

    assert (asked(f"{url}/healthz")[0], asked(f"{url}/readyz?verbose=1")[0]) == statuses


def test_the_body_says_why(told: Told, url: str) -> None:
    told.report = ILL

    _, media_type, body = asked(f"{url}/healthz")

    assert media_type == "application/json"
    assert json.loads(body) == {
        "status": "running",
        "healthy": False,
        "ready": False,
        "problems": ["the lease is lost"],
        "running": 0,
        "slots": 0,
        "claimed_ago": None,
        "renewed_ago": None,
        "loop_lag": 0.0,
    }


def test_head_has_the_status_and_no_body(told: Told, url: str) -> None:
    told.report = ILL

    assert asked(f"{url}/healthz", "HEAD") == (503, "application/json", "")


@pytest.mark.parametrize(("path", "told_what"), [("/", "/healthz"), ("/metrics", "no metrics")])
def test_what_there_is_none_of_is_not_found(url: str, path: str, told_what: str) -> None:
    status, _, body = asked(url + path)

    assert status == 404
    assert told_what in body


def test_metrics_are_what_they_are_said_to_be() -> None:
    def metrics() -> tuple[str, bytes]:
        return "text/plain; version=1.0.0", b"jobs 1\n"

    with answered_probes(Told(), file=None, host="127.0.0.1", port=0, metrics=metrics) as url:
        assert asked(f"{url}/metrics") == (200, "text/plain; version=1.0.0", "jobs 1\n")


def test_metrics_that_fail_are_an_error_of_the_server_and_logged_once_until_they_are_back(events: Events) -> None:
    broken = True

    def metrics() -> tuple[str, bytes]:
        if broken:
            raise ValueError("a collector of the application")
        return "text/plain", b""

    with answered_probes(Told(), file=None, host="127.0.0.1", port=0, metrics=metrics) as url:
        for _ in range(2):
            status, _, body = asked(f"{url}/metrics")
            assert (status, body) == (500, "ValueError: a collector of the application\n")
            assert asked(f"{url}/healthz")[0] == 200
        broken = False
        assert asked(f"{url}/metrics")[0] == 200

    assert len(events.failures("answering /metrics")) == 1
    assert [recovered.failures for recovered in events.of(DutyRecovered)] == [2]


def test_a_client_that_says_nothing_holds_up_no_other(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")

    with socket.create_connection((host, int(port))):
        assert asked(f"{url}/healthz")[0] == 200


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def our_threads() -> int:
    return sum("process_request_thread" in one.name for one in threading.enumerate())


async def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_SLOWEST_CLIENT", 0.5)
    with connected(url) as client:

        def is_cut_off() -> bool:
            try:
                client.send(b"G")
            except OSError:
                return True
            return False

        await until(is_cut_off)


async def test_many_clients_cost_few_threads_and_the_answers_come_again_after_them(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_SLOWEST_CLIENT", 2.0)
    clients = [connected(url) for _ in range(200)]

    await until(lambda: our_threads() == probes._MOST_CLIENTS)
    assert sum(one.recv(1) == b"" for one in clients[-20:]) == 20
    await until(lambda: our_threads() == 0)
    for one in clients:
        one.close()

    assert asked(f"{url}/healthz")[0] == 200


def test_a_client_that_goes_away_is_no_error(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    host, port = url.removeprefix("http://").split(":")
    for _ in range(3):
        socket.create_connection((host, int(port))).close()

    assert asked(f"{url}/healthz")[0] == 200
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_address_of_ip_version_6_is_served() -> None:
    try:
        with answered_probes(Told(), file=None, host="::1", port=0) as url:
            assert url is not None
            assert url.startswith("http://[::1]:")
            assert asked(f"{url}/healthz")[0] == 200
    except FailedError:
        pytest.skip("this machine has no such address")


def test_a_port_that_is_taken_is_an_error(url: str) -> None:
    port = int(url.rpartition(":")[2])

    with (
        pytest.raises(FailedError, match=rf"--health-port {port}: cannot listen on 127.0.0.1: Address already in use"),
        answered_probes(Told(), file=None, host="127.0.0.1", port=port),
    ):
        pass


def test_no_thread_is_left_behind(told: Told, tmp_path: Path) -> None:
    with answered_probes(told, file=tmp_path / "health", host="127.0.0.1", port=0):
        pass

    assert [
        one.name for one in threading.enumerate() if one.name in ("rexecutor probes", "rexecutor health file")
    ] == []


async def test_the_file_is_there_as_long_as_the_report_is_healthy(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "FILE_INTERVAL", 0.01)
    file = tmp_path / "health"

    with answered_probes(told, file=file, host="", port=None) as url:
        assert url is None
        assert json.loads(file.read_text())["healthy"] is True
        written = file.stat().st_mtime_ns
        await until(lambda: file.exists() and file.stat().st_mtime_ns > written)
        told.report = ILL
        await until(lambda: not file.exists())
        told.report = WELL
        await until(file.exists)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(FailedError, match=r"--health-file .*No such file or directory"),
        answered_probes(Told(), file=tmp_path / "no" / "health", host="", port=None),
    ):
        pass


async def test_a_file_that_cannot_be_written_later_is_logged_once_and_again_when_it_can(
    events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "FILE_INTERVAL", 0.01)
    folder = tmp_path / "run"
    folder.mkdir()

    with answered_probes(Told(), file=folder / "health", host="", port=None):
        folder.rename(tmp_path / "away")
        await until(lambda: bool(events.of(DutyFailed)))
        folder.mkdir()
        await until(lambda: bool(events.of(DutyRecovered)))

    assert len(events.failures("writing the health file")) == 1
