"""LISTEN and NOTIFY are hints: what is lost, late or garbage costs a moment, never a job."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from rexecutor import Executor, Job, JobStatus, Rexecutor
from rexecutor.backend.messages import Node
from rexecutor.backend.postgres import PostgresBackend, listener
from rexecutor.backend.postgres import notifier as notifier_module
from rexecutor.backend.postgres.connection import Connection
from rexecutor.backend.postgres.heartbeat import PostgresHeartbeats
from rexecutor.backend.postgres.listener import LISTENING
from rexecutor.backend.postgres.notifier import Notifier
from rexecutor.errors import BackendError
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.telemetry.events import DutyFailed, DutyRecovered, ListeningUseless
from tests.faults.proxy import Proxy
from tests.postgres import Migrated, run_postgres, schema_of, server_url, until_it_listens
from tests.support import Events, soon, until


class Quick(Executor[None]):
    name = "quick"

    async def execute(self, job: Job[None]) -> None: ...


@pytest.fixture(autouse=True)
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "LISTEN_CHECK_SECONDS", 0.2)
    monkeypatch.setattr(listener, "REPLY_SECONDS", 3.0)


@contextlib.asynccontextmanager
async def far_handle(proxy: Proxy, near: Migrated) -> AsyncGenerator[PostgresBackend]:
    """Another handle on the same schema, whose connections go through the proxy, and that listens already."""
    async with PostgresBackend(f"{proxy.url} connect_timeout=2", schema=near.schema, max_connections=2) as far:
        await until_it_listens(far)
        yield far


async def heard_at(far: PostgresBackend, near: Migrated) -> bool:
    """Enqueue at the one handle, and return whether the other hears of it well before it would poll."""
    since = far.change_count
    await Quick.builder().enqueue(backend=near)
    with contextlib.suppress(TimeoutError):
        await until(lambda: far.change_count > since, 1)
    return far.change_count > since


async def test_a_backend_listens_from_its_first_wait(proxy: Proxy, near: Migrated) -> None:
    async with PostgresBackend(f"{proxy.url} connect_timeout=2", schema=near.schema, max_connections=2) as far:
        handle = await Quick.builder().enqueue(backend=far)
        before = proxy.connections

        waiting = asyncio.ensure_future(handle.wait())
        await until(lambda: proxy.connections == before + 1)
        await near.cancel(handle.id, "enough")

        assert (await soon(waiting)).status is JobStatus.CANCELLED


async def test_an_enqueue_is_heard_of_at_the_other_backend(proxy: Proxy, near: Migrated) -> None:
    async with far_handle(proxy, near) as far:
        assert await heard_at(far, near)


async def test_garbage_on_the_channel_wakes_and_does_no_harm(proxy: Proxy, near: Migrated) -> None:
    async with far_handle(proxy, near) as far:
        since = far.change_count
        run_postgres(
            f"NOTIFY {listener.channel_of(near.schema)}, '\x01{{]}}'", f"NOTIFY {listener.channel_of(near.schema)}"
        )

        await until(lambda: far.change_count > since)
        assert await heard_at(far, near)


async def test_the_trials_of_one_listener_wake_no_other(proxy: Proxy, near: Migrated) -> None:
    async with far_handle(proxy, near) as far, PostgresBackend(server_url(), schema=near.schema) as third:
        await until_it_listens(third)
        since = third.change_count
        run_postgres(f"NOTIFY {listener.channel_of(near.schema)}, '~{'0' * 32}'")

        assert await heard_at(far, near)
        await until(lambda: third.change_count > since)
        assert third.change_count == since + 1


async def test_who_hears_others_needs_no_notification_of_its_own(
    near: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "LISTEN_CHECK_SECONDS", 1.0)
    asked: list[LiteralString] = []
    check_writable = listener.Listener._check_writable

    async def noted(
        self: listener.Listener, connection: Connection, statement: LiteralString, *parameters: str
    ) -> None:
        asked.append(statement)
        await check_writable(self, connection, statement, *parameters)

    monkeypatch.setattr(listener.Listener, "_check_writable", noted)
    async with PostgresBackend(server_url(), schema=near.schema) as far:
        await until_it_listens(far)

        def speak() -> bool:
            run_postgres(f"NOTIFY {listener.channel_of(near.schema)}, '~of another listener'")
            return len(asked) == 3

        await until(speak)

    assert asked == [listener.NOTIFY_OWN, listener.READ_ONLY, listener.READ_ONLY]


@pytest.mark.parametrize("resets", [True, False])
async def test_a_cut_connection_is_made_again_and_wakes_who_waits(
    proxy: Proxy, near: Migrated, events: Events, *, resets: bool
) -> None:
    async with far_handle(proxy, near) as far:
        since = far.change_count
        proxy.cut(resets=resets)

        await until(lambda: far.change_count > since, 10)
        assert await heard_at(far, near)
        assert len(events.failures(LISTENING)) == 1


async def test_a_connection_that_has_gone_silent_is_found_out(proxy: Proxy, near: Migrated) -> None:
    async with far_handle(proxy, near) as far:
        proxy.is_silent = True
        before = proxy.connections
        await until(lambda: proxy.connections > before, 20)
        proxy.is_silent = False
        since = far.change_count

        await until(lambda: far.change_count > since, 20)
        assert await heard_at(far, near)


async def test_behind_a_pooler_jobs_are_found_by_polling(
    proxy: Proxy, near: Migrated, caplog: pytest.LogCaptureFixture, events: Events
) -> None:
    caplog.set_level(logging.WARNING, "rexecutor")
    proxy.is_pooler = True

    async with PostgresBackend(proxy.url, schema=near.schema) as far, Rexecutor(far).with_executor(Quick):
        await until(lambda: bool(events.of(ListeningUseless)))
        handle = await Quick.builder().enqueue(backend=near)
        await soon(handle.wait(timedelta(seconds=15)))
        before = proxy.connections
        await until(lambda: proxy.connections > before)  # it tries again, and says nothing

    assert len(events.of(ListeningUseless)) == 1
    assert "password" not in caplog.text


async def test_behind_a_pooler_that_keeps_sessions_an_enqueue_is_heard_of(
    proxy: Proxy, near: Migrated, events: Events
) -> None:
    proxy.is_pooler = proxy.keeps_sessions = True

    async with far_handle(proxy, near) as far:
        assert await heard_at(far, near)
    assert events.of(ListeningUseless) == []


async def test_behind_a_pooler_no_statement_is_prepared_on_the_server(proxy: Proxy, near: Migrated) -> None:
    proxy.is_pooler = True

    async def threshold(connection: Connection) -> int | None:
        return connection.prepare_threshold

    async with PostgresBackend(proxy.url, schema=near.schema) as far:
        assert await far._connections.run(threshold) is None


@pytest.mark.parametrize("is_pooler", [True, False])
async def test_behind_a_pooler_no_session_is_set_up(
    proxy: Proxy, near: Migrated, tmp_path: Path, is_pooler: bool
) -> None:
    proxy.is_pooler = is_pooler

    def patience_for_locks(connection: psycopg.Connection[tuple[object, ...]]) -> object:
        return connection.execute("SHOW lock_timeout").fetchall()

    far = PostgresBackend(proxy.url, schema=near.schema, listens=False)
    async with far:
        heartbeats = far.heartbeat_connection()
        assert isinstance(heartbeats, PostgresHeartbeats)
        await asyncio.to_thread(heartbeats.send, Node("node", "here", timedelta(minutes=1)))
        assert heartbeats._connection is not None
        found = [await asyncio.to_thread(patience_for_locks, heartbeats._connection)]
        heartbeats.close()
        with far._sync._lent() as connection:
            found.append(patience_for_locks(connection))

    assert found == [[("0" if is_pooler else "25s",)]] * 2


async def test_a_server_that_was_away_is_listened_to_again_with_two_events(
    proxy: Proxy, near: Migrated, events: Events
) -> None:
    async with far_handle(proxy, near) as far:
        proxy.refuses = True
        proxy.cut()
        before = proxy.connections
        await until(lambda: proxy.connections > before + 2)
        proxy.refuses = False
        since = far.change_count
        await until(lambda: far.change_count > since, 10)

    told = [one for one in events if isinstance(one, DutyFailed | DutyRecovered) and one.duty == LISTENING]
    assert [type(one) for one in told] == [DutyFailed, DutyRecovered]


async def test_a_claim_whose_answer_never_comes_is_cut_off(
    proxy: Proxy, near: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecutor.backend.postgres.liveness.OPERATION_SECONDS", 0.3)
    async with far_handle(proxy, near) as far:
        await far.settle([Settlement(1, 1, Complete())])
        proxy.is_silent = True

        with pytest.raises(BackendError):
            await soon(far.settle([Settlement(1, 1, Complete())]), 10)
        proxy.is_silent = False


async def test_a_heartbeat_whose_answer_never_comes_is_cut_off_before_the_lease_ends(
    proxy: Proxy, near: Migrated
) -> None:
    node = Node("node-1", "here", timedelta(seconds=1))
    async with far_handle(proxy, near) as far:
        heartbeats = far.heartbeat_connection()
        await asyncio.to_thread(heartbeats.send, node)
        proxy.is_silent = True

        with pytest.raises(BackendError):
            await soon(asyncio.to_thread(heartbeats.send, node), 10)

        proxy.is_silent = False
        assert not (await soon(asyncio.to_thread(heartbeats.send, node))).cancels
        heartbeats.close()


async def test_notifications_are_sent_at_once_when_quiet_and_together_when_not() -> None:
    sent: list[list[str]] = []

    async def send(names: list[str]) -> None:
        sent.append(names)
        await asyncio.to_thread(lambda: None)

    notifier = Notifier(send)
    notifier.ring(["b"])
    await until(lambda: len(sent) == 1)
    for number in range(50):
        notifier.ring(["a", f"e{number % 3}"])
    await notifier.flush()
    notifier.ring([f"e{number}" for number in range(1_000)])
    await notifier.flush()
    notifier.ring([])
    await notifier.flush()

    assert sent == [["b"], ["a", "e0", "e1", "e2"], ["*"]]


async def test_an_enqueues_own_statement_notifies_when_none_has_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[str]] = []

    async def send(names: list[str]) -> None:
        sent.append(names)

    monkeypatch.setattr(notifier_module, "GRACE_SECONDS", 20.0)
    notifier = Notifier(send)
    assert notifier.begin("a")
    assert not notifier.begin("a")
    notifier.ring(["a"])
    await until(lambda: notifier.begin("a"))  # and so it tells for the one before
    notifier.ring(["a", "b"])
    await until(lambda: asyncio.get_running_loop().time() > notifier.resumes)
    assert not notifier.begin("a")
    assert sent == []
    await notifier.flush()

    assert sent == [["a", "b"]]


async def test_a_notification_carries_the_context_of_none_of_those_it_tells_for() -> None:
    trace: ContextVar[str] = ContextVar("trace", default="none")
    seen: list[str] = []

    async def send(_: list[str]) -> None:
        seen.append(trace.get())

    trace.set("request")
    at_once, after_a_pause = Notifier(send), Notifier(send)
    at_once.ring(["a"])
    assert after_a_pause.begin("a")
    after_a_pause.ring(["b"])
    await until(lambda: len(seen) == 2)
    for notifier in (at_once, after_a_pause):
        await notifier.flush()

    assert seen == ["none", "none"]


async def test_a_notification_that_fails_fails_nobody() -> None:
    async def fail(_: list[str]) -> None:
        raise BackendError("no server")

    notifier = Notifier(fail)
    notifier.ring(["a"])
    await notifier.flush()


def test_a_schema_has_a_channel_of_its_own(tmp_path: Path) -> None:
    assert listener.channel_of(schema_of(tmp_path)) != listener.channel_of("rexecutor")
