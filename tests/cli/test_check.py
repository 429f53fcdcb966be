"""`rexecutor check`."""

from typing import Literal

import pytest

from rexecutor import Executor, Job, Limits
from rexecutor.cli.check import REASONS, Findings
from tests.cli.processes import Place
from tests.model.records import scheduled

NEW_CODE = """
import app
from rexecutor import Executor, Job, Rexecutor

class Email(Executor[{type}]):
    name = "{name}"

    async def execute(self, job: Job[{type}]) -> None:
        pass

rexecutor = Rexecutor(app.rexecutor.backend, executors=[Email])
"""


def written(place: Place, *, name: str = "email", kind: str = "str") -> str:
    (place.folder / "new.py").write_text(NEW_CODE.format(name=name, type=kind))
    return "new:rexecutor"


def shown(place: Place) -> str:
    """The store as the command names it."""
    name = place.backend().place
    assert name == place.url if place.schema is None else name.endswith(f", schema {place.schema}")
    return name


def test_code_that_can_run_all_jobs_passes(place: Place) -> None:
    answer = place("check", written(place))

    assert (answer.status, answer.out, answer.err) == (0, f"all 2 jobs in {shown(place)} can run\n", "")


def test_jobs_whose_attempts_would_fail_are_listed_by_reason(place: Place) -> None:
    answer = place("check", written(place, kind="int"))

    lines = answer.out.splitlines()
    assert answer.status == 1
    assert lines[0].split("\t") == ["executor", "jobs", "ids", "error"]
    assert lines[1].split("\t")[:3] == ["email", "2", "1, 2"]
    assert "int" in lines[1]
    assert lines[2:] == [f"of 2 jobs in {shown(place)}, 2 would fail and 0 would not be run"]


def test_executors_that_the_code_has_no_more_are_listed(place: Place) -> None:
    target = written(place, name="mail")

    answer = place("check", target, *place.options)
    as_json = place("check", target, "--json")
    excepted = place("check", target, "--except", "email")

    assert answer.status == as_json.status == 1
    assert answer.out.splitlines() == [
        "2 jobs of email: the application has no such executor",
        f"of 2 jobs in {shown(place)}, 0 would fail and 2 would not be run",
    ]
    assert as_json.json == {"store": shown(place), "checked": 2, "failing": [], "unknown": {"email": 2}}
    assert (excepted.status, excepted.out) == (0, f"no job to check in {shown(place)}\n")


def test_one_job_is_not_told_as_several(place: Place) -> None:
    place("jobs", "cancel", "1", *place.options)

    able = place("check", written(place))
    unknown = place("check", written(place, name="mail"))

    assert able.out == f"the only job in {shown(place)} can run\n"
    assert unknown.out.splitlines() == [
        "1 job of email: the application has no such executor",
        f"of 1 job in {shown(place)}, 0 would fail and 1 would not be run",
    ]


def settle(place: Place, *lines: str) -> None:
    (place.folder / "pyproject.toml").write_text("\n".join(["[tool.rexecutor]", *lines, ""]))


def test_a_variable_names_the_application_and_outranks_the_file(place: Place) -> None:
    written(place)
    settle(place, 'app = "nowhere:rexecutor"')

    answer = place("check", REXECUTOR_APP="new:rexecutor")

    assert (answer.status, answer.out) == (0, f"all 2 jobs in {shown(place)} can run\n")


def test_the_file_names_the_application(place: Place) -> None:
    written(place)
    settle(place, 'app = "new:rexecutor"')

    assert place("check").status == 0


OTHER = "'other.db': no such file"


def test_a_url_outranks_an_application_of_the_same_place_and_what_stands_further_away(place: Place) -> None:
    target, elsewhere = written(place), "sqlite:///other.db"
    settle(place, 'app = "new:rexecutor"', f'url = "{elsewhere}"')

    of_file = place("check")
    of_variables = place("check", REXECUTOR_APP=target, REXECUTOR_URL=elsewhere)
    of_options = place("check", target, "--url", elsewhere)

    assert all(OTHER in answer.error for answer in (of_file, of_variables, of_options))
    assert place("check", REXECUTOR_APP=target).status == 0  # outranks the file
    assert place("check", target, REXECUTOR_URL=elsewhere).status == 0  # outranks the variable


def test_without_an_application_the_command_says_how_to_give_one(place: Place) -> None:
    answer = place("check", *place.options)

    assert answer.status == 2
    assert "give MODULE:REXECUTOR, or set REXECUTOR_APP, or app in pyproject.toml" in answer.error


def test_a_store_is_left_as_it_was(place: Place) -> None:
    before = place("jobs", "list", "--json", *place.options).out

    place("check", written(place, kind="int"))

    assert place("jobs", "list", "--json", *place.options).out == before


CLOSING = """
from contextlib import asynccontextmanager
import app

print("imported")

@asynccontextmanager
async def make():
    print("opened")
    yield app.rexecutor
    print("closed")
"""


def test_what_the_application_prints_is_not_in_the_answer(place: Place) -> None:
    (place.folder / "chatty.py").write_text(CLOSING)

    answer = place("check", "chatty:make", "--json")

    assert (answer.json["checked"], answer.json["failing"], answer.json["unknown"]) == (2, [], {})
    assert [line for line in ("imported", "opened", "closed") if line in answer.err.splitlines()] == [
        "imported",
        "opened",
        "closed",
    ]


@pytest.mark.parametrize(("target", "code"), [("leaves:rexecutor", "exit(0)"), ("leaves:make", "def make(): exit(0)")])
def test_code_that_ends_the_program_has_not_passed(place: Place, target: str, code: str) -> None:
    (place.folder / "leaves.py").write_text(f"from sys import exit\n{code}\n")

    answer = place("check", target, *place.options)

    assert answer.status == 1
    assert "ended the program" in answer.error


def test_reasons_that_differ_from_job_to_job_are_listed_up_to_a_limit() -> None:
    found = Findings("sqlite:///jobs.db")
    jobs = [scheduled(executor="email", data=f'"{number}"') for number in range(REASONS + 10)]

    found.add(jobs, {"email": OnlyOne}, Limits())

    assert (len(found.unreadable), found.failing) == (REASONS + 1, REASONS + 10)
    assert found.unreadable["email", "other reasons"].jobs == 10


class OnlyOne(Executor[Literal["only"]]):
    name = "email"

    async def execute(self, job: Job[Literal["only"]]) -> None: ...


def test_an_exception_that_no_job_has_is_told(place: Place) -> None:
    answer = place("check", written(place), "--except", "emial")

    assert answer.status == 0
    assert answer.err.startswith("no job in this store has the executor 'emial'")
