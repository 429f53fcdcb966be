"""`examples/django_app`: a project whose view enqueues a task in its transaction, and a worker that is killed."""

import re
from pathlib import Path

import django
import pytest
from psycopg.conninfo import conninfo_to_dict

from rexecutor import Where, connect
from tests.examples.programs import EXAMPLES, Programs, new_database

PAGE = Path(__file__).parents[2] / "docs" / "django.md"
BLOCKS: list[str] = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
SETTINGS = """
from mysite.settings import *

REXECUTOR = "ci:make"
MAILERS = {"default": {"BACKEND": "ci.EmailBackend", "OPTIONS": {"file_path": BASE_DIR / "mails"}}}
"""
CI = '''
import time
from datetime import timedelta
from pathlib import Path

from django.core.mail.backends.filebased import EmailBackend as FileBackend

from rexecutor import Rexecutor
from rexecutor.django import backend_for


def make() -> Rexecutor:
    """The jobs of a dead worker run elsewhere after a second."""
    return Rexecutor(backend_for("default"), lease=timedelta(seconds=1))


class EmailBackend(FileBackend):
    """Writes a mail to a file, but not while there is a file `hang`."""

    def send_messages(self, messages):
        Path("hanging").touch()
        while Path("hang").exists():
            time.sleep(0.02)
        return super().send_messages(messages)
'''

needs_tasks = pytest.mark.skipif(django.VERSION < (6,), reason="django.tasks is in Django 6, which needs Python 3.12")


@needs_tasks
@pytest.mark.parametrize("store", ["sqlite", "pg"])
def test_an_order_gets_its_receipt_although_the_first_worker_is_killed(tmp_path: Path, store: str) -> None:
    url = None if store == "sqlite" else new_database(tmp_path)
    environment = {} if url is None else libpq(url)
    with Programs.of_example("django_app", tmp_path, DJANGO_SETTINGS_MODULE="ci_settings", **environment) as programs:
        folder = programs.folder
        (folder / "ci_settings.py").write_text(SETTINGS)
        (folder / "ci.py").write_text(CI)
        (folder / "hang").touch()
        programs.run("manage.py", "migrate", "-v0")
        server = programs.serve("manage.py", "runserver", "--noreload", "127.0.0.1:{port}")

        declined = server.client.post("/orders/", data={"reference": "too expensive", "email": "a@example.com"})
        placed = server.client.post("/orders/", data={"reference": "A-1", "email": "bob@example.com"})
        order = placed.json()["id"]
        killed = programs.start("manage.py", "rexecutor")
        programs.until((folder / "hanging").exists)
        killed.kill()
        (folder / "hang").unlink()
        programs.start("manage.py", "rexecutor")

        assert declined.status_code == 402
        programs.until(lambda: server.get(f"/orders/{order}/").json()["receipt_sent"])
        (mail,) = (folder / "mails").iterdir()
        assert "To: bob@example.com" in mail.read_text()
        (job,) = connect(url or f"sqlite:///{folder / 'db.sqlite3'}").query_sync(Where.everything())
        assert (job.status, job.attempt, [error.kind for error in job.errors]) == ("complete", 2, ["lost"])


@needs_tasks
@pytest.mark.parametrize("store", ["sqlite", "pg"])
def test_its_own_tests_pass_and_their_database_is_gone_afterwards(tmp_path: Path, store: str) -> None:
    environment = {} if store == "sqlite" else libpq(new_database(tmp_path))
    with Programs.of_example("django_app", tmp_path, **environment) as programs:
        said = programs.run("-W", "error", "manage.py", "test", "--noinput")

        assert "Ran 2 tests" in said
        assert "no issues" in said
        assert not (programs.folder / "test.sqlite3").exists()


@needs_tasks
def test_its_settings_and_migrations_are_what_django_wants(tmp_path: Path) -> None:
    with Programs.of_example("django_app", tmp_path) as programs:
        said = programs.run("-W", "error", "manage.py", "makemigrations", "--check")  # looks at the settings first

        assert "No changes detected" in said
        assert "issues" not in said


def test_the_page_on_django_shows_the_examples_code() -> None:
    compared = [block for block in BLOCKS if re.match(r"# \S+\.py\n", block)]

    assert len(compared) >= 6
    for block in compared:
        name, _, code = block.partition("\n")
        file = EXAMPLES / "django_app" / name.removeprefix("# ")
        assert _stripped(code) in _stripped(file.read_text()), block


@needs_tasks
def test_the_page_on_django_leads_from_nothing_to_a_finished_task(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with Programs(tmp_path / "new") as programs:
        programs.run("-m", "django", "startproject", "mysite", ".")
        programs.run("manage.py", "startapp", "shop")
        databases, tasks, greet, shell = BLOCKS[:4]
        settings = programs.folder / "mysite" / "settings.py"
        added = 'INSTALLED_APPS += ["rexecutor.django", "shop"]'
        settings.write_text(f"{settings.read_text()}\n{added}\n{databases}\n{tasks}")
        (programs.folder / "shop" / "tasks.py").write_text(greet)
        typed = re.findall(r"^>>> (.*)$", shell, re.MULTILINE)
        waits = "import time\nwhile not result.is_finished: time.sleep(0.02); result.refresh()"

        programs.run("manage.py", "migrate", "-v0")
        worker = programs.start("manage.py", "rexecutor", "--reload")
        said = programs.run("manage.py", "shell", "-v0", "-c", "\n".join((*typed[:2], waits, f"print(({typed[3]}))")))

        assert said.strip() == shell.splitlines()[-1]
        programs.until(lambda: "Hello, Ada" in worker.said)


def _stripped(code: str) -> str:
    return "\n".join(line.strip() for line in code.splitlines() if line.strip())


def libpq(url: str) -> dict[str, str]:
    """Return the variables of the environment that name this database."""
    known = conninfo_to_dict(url)
    names = {"dbname": "PGDATABASE", "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    return {variable: str(known[name]) for name, variable in names.items() if known.get(name)}
