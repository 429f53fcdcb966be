"""Django's admin of jobs."""

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections, transaction
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from rexecutor.django.models import Job, Node, Pause, Schedule
from rexecutor.django.shown import MOST_SHOWN, shown
from rexecutor.django.stores import Store, bound_store
from rexecutor.errors import BackendError, JobNotFoundError
from rexecutor.model.job import NewJob
from rexecutor.model.status import JobStatus
from tests.in_django import databases
from tests.in_django.databases import jobs_in
from tests.in_django.stored import NEW, new

LIST = "/admin/rexecutor/job/"
ACTIONS = ("cancel_jobs", "rerun_jobs", "pause_executors")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module", params=["sqlite", "pg"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The alias of a migrated database that these tests share, each in a transaction that it rolls back."""
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("admin") / "db.sqlite3"
        made = databases.sqlite(request.getfixturevalue("sqlite_template"), file)
    else:
        made = databases.postgres(request.getfixturevalue("postgres_template"), databases.new_name())
    with made as alias:
        yield alias


@pytest.fixture
def alias(shared: str) -> Iterator[str]:
    """The alias of a database with the tables of jobs and of users, to which all models go."""
    with jobs_in(shared), override_settings(DATABASE_ROUTERS=[AllIn(shared)]), transaction.atomic(using=shared):
        yield shared
        transaction.set_rollback(True, using=shared)


@pytest.fixture
def client(alias: str) -> Client:
    """A client that is logged in as a superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


class AllIn:
    """A router that has all models in one database."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def db_for_read(self, model: object, **hints: object) -> str:
        return self._alias

    db_for_write = db_for_read


def enqueue(alias: str, *jobs: NewJob) -> list[int]:
    return [one.id for one in bound_store(Store(alias)).enqueue_sync(jobs or [NEW])]


def act(client: Client, action: str, *ids: object, path: str = LIST) -> str:
    """Choose an action for these objects, and return the page that follows."""
    answer = client.post(path, {"action": action, "_selected_action": list(ids), "index": 0}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


def test_jobs_are_listed_with_the_newest_first(alias: str, client: Client) -> None:
    first, second = enqueue(alias, NEW, new("other"))

    page = client.get(LIST).content.decode()

    assert page.index(f"/{second}/change/") < page.index(f"/{first}/change/")
    assert "2 jobs" in page


def test_the_list_names_tasks(alias: str, client: Client) -> None:
    mail, task, odd = enqueue(
        alias,
        new("mail", data='{"path":"not.a.task"}'),
        new("django.default.default", data='{"path":"shop.tasks.send","args":[],"kwargs":{}}'),
        new("django.default.default", data="[1]"),
    )

    page = client.get(LIST).content.decode()

    assert "shop.tasks.send" in page
    assert "not.a.task" not in page
    assert all(f"/{job}/change/" in page for job in (mail, task, odd))


def test_the_list_is_filtered_by_status(alias: str, client: Client) -> None:
    waiting, cancelled, running = enqueue(alias, NEW, NEW, NEW)
    bound_store(Store(alias)).cancel_sync(cancelled, "no")
    start(alias, running)

    pages = {status: client.get(LIST, {"status": status}).content.decode() for status in JobStatus}

    listed = {
        status: [job for job in (waiting, cancelled, running) if f"/{job}/change/" in page]
        for status, page in pages.items()
    }
    assert listed == {status: [] for status in JobStatus} | {
        JobStatus.SCHEDULED: [waiting],
        JobStatus.CANCELLED: [cancelled],
        JobStatus.EXECUTING: [running],
    }


def test_the_list_is_filtered_by_executor(alias: str, client: Client) -> None:
    mail, other = enqueue(alias, NEW, new("other"))

    page = client.get(LIST, {"executor": "other"}).content.decode()

    assert "?executor=mail" in page
    assert f"/{other}/change/" in page
    assert f"/{mail}/change/" not in page


def test_a_job_is_found_by_its_id_or_executor(alias: str, client: Client) -> None:
    mail, other = enqueue(alias, NEW, new("other"))

    pages = [client.get(LIST, {"q": term}).content.decode() for term in (str(other), "other")]

    assert [f"/{other}/change/" in page for page in pages] == [True, True]
    assert [f"/{mail}/change/" in page for page in pages] == [False, False]


def test_jobs_of_a_task_are_found_by_a_part_of_its_path(
    alias: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = new("django.default.default", data='{"path":"shop.tasks.flaky","args":[],"kwargs":{}}')
    old, mail, new_one = enqueue(alias, flaky, new("mail", data='{"path":"flaky"}'), flaky)
    monkeypatch.setattr("rexecutor.django.listing.MOST_LISTED", 2)

    page = client.get(LIST, {"q": "flaky"}).content.decode()

    assert [f"/{job}/change/" in page for job in (old, mail, new_one)] == [False, False, True]


def test_a_pause_says_that_it_holds_up_all_tasks_of_the_queue(alias: str, client: Client) -> None:
    (job,) = enqueue(alias, new("django.default.mail"))

    assert "No task of this queue, not only the selected ones, starts" in act(client, "pause_executors", job)


def test_nonsense_in_the_address_is_no_failure(alias: str, client: Client) -> None:
    enqueue(alias)
    nonsense = [{"q": "9" * 5_000}, {"q": "9" * 18}, {"q": "²"}, {"p": "99"}, {"status": "nonsense"}, {"o": "3.-2"}]
    nonsense += [{"executor": "\0"}, {"status": "\0"}, {"q": "\0"}]

    assert {client.get(LIST, query, follow=True).status_code for query in nonsense} == {200}
    pages = [f"/admin/rexecutor/{model}/a%00/change/" for model in ("job", "node", "pause", "schedule")]
    assert {client.get(page, follow=True).status_code for page in pages} == {200}
    assert client.get(LIST, {"data__contains": "x"}).status_code == 400


def test_the_list_reads_no_data(alias: str, client: Client) -> None:
    enqueue(alias)

    with CaptureQueriesContext(connections[alias]) as queries:
        client.get(LIST)

    read = [one["sql"] for one in queries if "scheduled_at" in one["sql"]]
    assert read
    assert not [sql for sql in read if '"data" AS' in sql or '"errors"' in sql]


def test_a_job_is_shown_with_its_data_and_the_tracebacks_of_its_errors(alias: str, client: Client) -> None:
    (job,) = enqueue(alias)
    fail(alias, job, "Traceback: the server is down")

    page = client.get(f"{LIST}{job}/change/").content.decode()

    assert "&quot;to&quot;: &quot;bob&quot;" in page
    assert "attempt 1: exception, OSError" in page
    assert "Traceback: the server is down" in page
    assert "Save" not in page


def test_what_a_job_holds_is_escaped(alias: str, client: Client) -> None:
    (job,) = enqueue(alias, new("mail", data=json.dumps(HOSTILE), tags=(HOSTILE,), metadata=json.dumps([HOSTILE])))
    fail(alias, job, HOSTILE)
    execute(alias, f"UPDATE {table(alias, 'stored_jobs')} SET executor = %s", [HOSTILE])

    pages = [client.get(path).content.decode() for path in (LIST, f"{LIST}{job}/change/")]

    assert not [page for page in pages if HOSTILE in page]
    assert "&lt;script&gt;" in pages[0]
    assert pages[1].count("&lt;script&gt;alert") >= 5


def test_values_that_cannot_be_read_are_shown_as_such(alias: str, client: Client) -> None:
    (job,) = enqueue(alias)
    if alias == "postgres":
        damage = "errors = '[1, {\"kind\": 7}]', inserted_at = '20000-01-01', tags = '{{a,b},{c,NULL}}'"
    else:
        damage = (
            "errors = 'no json', data = CAST(x'ff' AS TEXT), executor = CAST(x'646a616e676f2eff' AS TEXT), "
            "inserted_at = 9000000000000000000, tags = '[1'"
        )
    execute(alias, f"UPDATE {table(alias, 'stored_jobs')} SET {damage}")

    page = client.get(f"{LIST}{job}/change/")

    assert page.status_code == 200
    assert ("unreadable" if alias == "postgres" else "This cannot be read") in page.content.decode()
    assert client.get(LIST).status_code == 200


def test_surrogates_are_shown_as_their_escapes(alias: str, client: Client) -> None:
    (job,) = enqueue(alias)
    data = r'["\ud83d"]'
    errors = data if alias == "postgres" else r'[{"kind": "\ud83d", "details": "\ud83d"}]'  # jsonb refuses them
    column = "" if alias == "postgres" else ", errors = %s"
    values = [data] if alias == "postgres" else [data, errors]
    execute(alias, f"UPDATE {table(alias, 'stored_jobs')} SET data = %s{column}", values)

    page = client.get(f"{LIST}{job}/change/").content.decode()

    assert page.count(r"\ud83d") == (1 if alias == "postgres" else 3)


def test_of_large_and_nested_values_the_beginning_is_shown() -> None:
    nested: list[Any] = [1] * 300_000
    for _ in range(90):  # an enqueue allows 100 levels
        nested = [nested]
    tracemalloc.start()

    text = shown(nested)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert "the rest is left out" in text
    assert len(text) < 2 * MOST_SHOWN
    assert most < 1_000_000


def test_nothing_is_added_changed_or_deleted(alias: str, client: Client) -> None:
    (job,) = enqueue(alias)

    assert client.get(f"{LIST}add/").status_code == 403
    assert client.get(f"{LIST}{job}/delete/").status_code == 403
    assert client.post(f"{LIST}{job}/change/", {"executor": "other"}).status_code == 403
    assert "doesn" in client.get(f"{LIST}{9 * 10**30}/change/", follow=True).content.decode()


def test_jobs_are_cancelled_and_what_could_not_be_is_said(alias: str, client: Client) -> None:
    waiting, ended, running = enqueue(alias, NEW, NEW, NEW)
    bound_store(Store(alias)).cancel_sync(ended, "before")
    start(alias, running)

    page = act(client, "cancel_jobs", waiting, ended, running)

    assert "1 job: cancelled." in page
    assert "1 job: had ended before." in page
    assert "1 job: will be cancelled by the worker that runs it." in page
    assert Job.objects.get(pk=waiting).errors[-1]["details"] == "cancelled in the admin by root"
    assert "cancelled in the admin by root" in client.get(f"{LIST}{waiting}/history/").content.decode()


def test_ended_jobs_are_rerun_and_what_could_not_be_is_said(alias: str, client: Client) -> None:
    waiting, ended = enqueue(alias, NEW, NEW)
    bound_store(Store(alias)).cancel_sync(ended, "before")

    page = act(client, "rerun_jobs", waiting, ended)

    assert "1 job: due again." in page
    assert "1 job: not rerun: it has not ended." in page
    assert Job.objects.get(pk=ended).status == "scheduled"


def test_an_action_changes_a_thousand_jobs_at_most(alias: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rexecutor.django.admin.MOST_CHANGED", 2)
    ids = enqueue(alias, NEW, NEW, NEW)

    pages = [
        client.post(
            f"{LIST}?status=scheduled",
            {"action": "cancel_jobs", "_selected_action": ids[:1], "select_across": 1, "index": 0},
            follow=True,
        ).content.decode()
        for _ in range(2)
    ]

    assert ["Only the first 2 were processed" in page for page in pages] == [True, False]
    assert ["2 jobs: cancelled." in pages[0], "1 job: cancelled." in pages[1]] == [True, True]
    assert {job.status for job in Job.objects.all()} == {"cancelled"}


def test_a_pause_of_more_jobs_says_that_it_has_looked_at_the_first_only(
    alias: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecutor.django.admin.MOST_CHANGED", 1)
    enqueue(alias, new("mail"), new("other"))
    chosen = {"action": "pause_executors", "_selected_action": [1], "select_across": 1, "index": 0}

    page = client.post(LIST, chosen, follow=True).content.decode()

    assert "Only the first 1 were processed. Filter the list" in page
    assert [pause.executor for pause in Pause.objects.all()] == ["other"]


def test_a_job_that_is_deleted_meanwhile_is_reported(
    alias: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = enqueue(alias)

    def cancel_sync(*_: object) -> None:
        raise JobNotFoundError.of(job)

    monkeypatch.setattr("rexecutor.backend.app_transaction.SyncTransaction.cancel_sync", cancel_sync)

    assert "1 job: deleted meanwhile." in act(client, "cancel_jobs", job)


def test_an_error_of_the_store_is_reported(alias: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = enqueue(alias)

    monkeypatch.setattr("rexecutor.django.admin._bound", FailingStore)

    assert f"Job {job}: the disk is full" in act(client, "rerun_jobs", job)
    assert "Not paused: mail: the disk is full" in act(client, "pause_executors", job)


class FailingStore:
    """A store that is full."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: object) -> None:
            raise BackendError("the disk is full")

        return fail


def test_an_action_is_part_of_the_requests_transaction(alias: str, client: Client) -> None:
    (job,) = enqueue(alias)

    with transaction.atomic(using=alias):
        act(client, "cancel_jobs", job)
        assert Job.objects.get().status == "cancelled"
        transaction.set_rollback(True, using=alias)

    assert Job.objects.get().status == "scheduled"


def test_executors_are_paused_and_resumed(alias: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    mail, other = enqueue(alias, NEW, new("other"))

    page = act(client, "pause_executors", mail, other)
    assert "Paused: mail." in page
    assert [pause.executor for pause in Pause.objects.order_by("pk")] == ["mail", "other"]

    monkeypatch.setattr("rexecutor.django.admin._bound", FailingStore)
    assert "Not resumed: mail: " in act(client, "resume_executors", "executor:mail", path="/admin/rexecutor/pause/")
    monkeypatch.undo()
    act(client, "resume_executors", "executor:mail", path="/admin/rexecutor/pause/")
    assert [pause.executor for pause in Pause.objects.all()] == ["other"]


def test_an_action_needs_its_permission(alias: str) -> None:
    (job,) = enqueue(alias)
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_job"))
    client = Client()
    client.force_login(viewer)

    listed = client.get(LIST).content.decode()
    for action in ACTIONS:
        act(client, action, job)

    assert f"/{job}/change/" in listed
    assert not [action for action in ACTIONS if action in listed]
    assert Job.objects.get().status == "scheduled"
    assert not Pause.objects.exists()


def test_a_permission_allows_its_action_alone(alias: str) -> None:
    enqueue(alias)
    user = User.objects.create_user("operator", is_staff=True)
    client = Client()
    client.force_login(user)

    for action, codename in zip(ACTIONS, ("cancel_job", "rerun_job", "pause_job"), strict=True):
        user.user_permissions.set(Permission.objects.filter(codename__in=["view_job", codename]))
        page = client.get(LIST).content.decode()

        assert [one for one in ACTIONS if f'value="{one}"' in page] == [action]


def test_without_permission_there_is_nothing_to_see(alias: str) -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody", is_staff=True))

    assert client.get(LIST).status_code == 403


def test_nodes_and_schedules_are_listed(alias: str, client: Client) -> None:
    node = "(id, name, started_at, lease_until, state) VALUES ('n1', 'host:1', {0}, {0}, '{{\"running\": 3}}')"
    now = "now()" if alias == "postgres" else "1700000000000000"
    execute(alias, f"INSERT INTO {table(alias, 'nodes')} {node.format(now)}")
    execute(
        alias,
        f"INSERT INTO {table(alias, 'schedules')} (id, executor, expression, timezone)"
        " VALUES ('daily', 'mail', '0 9 * * *', 'UTC')",
    )

    assert "host:1" in client.get("/admin/rexecutor/node/").content.decode()
    assert "host:1" in client.get("/admin/rexecutor/node/n1/change/").content.decode()
    assert "0 9 * * *" in client.get("/admin/rexecutor/schedule/").content.decode()
    assert client.get("/admin/rexecutor/schedule/daily/change/").status_code == 200
    assert Node.objects.get().state == {"running": 3}
    assert str(Schedule.objects.get()) == "daily"


def test_without_a_database_for_jobs_the_admin_leaves_the_application_out(alias: str, client: Client) -> None:
    with override_settings(
        TASKS={"default": {"BACKEND": "rexecutor.django.TaskBackend", "OPTIONS": {"STORE": "memory:"}}}
    ):
        assert "rexecutor" not in client.get("/admin/").content.decode()
    assert "rexecutor" in client.get("/admin/").content.decode()


def start(alias: str, job: int) -> None:
    """Have a node execute the job."""
    now = "now()" if alias == "postgres" else "1"
    execute(
        alias,
        f"INSERT INTO {table(alias, 'running')} (id, claims, attempted_at, attempt, node, executor)"
        f" VALUES (%s, 1, {now}, 1, 'n1', 'mail')",
        [job],
    )
    execute(alias, f"DELETE FROM {table(alias, 'queue')} WHERE id = %s", [job])


def fail(alias: str, job: int, details: str) -> None:
    """Let the job have an error."""
    error = {
        "attempt": 1,
        "kind": "exception",
        "type_name": "OSError",
        "details": details,
        "recorded_at": "2026-01-01T00:00:00Z",
    }
    execute(alias, f"UPDATE {table(alias, 'stored_jobs')} SET errors = %s WHERE id = %s", [json.dumps([error]), job])


def execute(alias: str, statement: str, parameters: list[Any] | None = None) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, parameters)


def table(alias: str, name: str) -> str:
    return f"rexecutor.{name}" if alias == "postgres" else f"rexecutor_{name}"
