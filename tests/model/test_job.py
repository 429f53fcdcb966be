"""Jobs as values."""

from dataclasses import FrozenInstanceError, astuple, fields, replace
from typing import Any

import pytest

from rexecutor import Job, JobStatus
from rexecutor.errors import ConfigurationError
from rexecutor.model.job import Limits, job_of
from rexecutor.testing import FakeClock

NOW = FakeClock().now()
MOMENTS = (NOW, NOW, NOW, None, None, None, None)
VALUES: tuple[Any, ...] = (
    1,
    JobStatus.EXECUTING,
    "name",
    "data",
    None,
    1,
    5,
    0,
    ("tag",),
    (),
    *MOMENTS,
    None,
    dict[str, str](),
    0,
    None,
)


def test_a_job_made_quickly_is_the_same_as_one_made_in_the_ordinary_way() -> None:
    assert job_of(*VALUES) == Job(*VALUES)
    assert type(job_of(*VALUES)) is Job
    assert astuple(job_of(*VALUES)) == VALUES
    assert hash(job_of(*VALUES)) == hash(Job(*VALUES))


def test_a_job_made_quickly_needs_all_its_values() -> None:
    with pytest.raises(TypeError):
        job_of(*VALUES[:-1])


@pytest.mark.parametrize("name", [field.name for field in fields(Job)])
def test_a_job_cannot_be_changed(name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(job_of(*VALUES), name, None)


def test_a_changed_copy_of_a_job_is_a_job() -> None:
    changed = replace(job_of(*VALUES), priority=3)

    assert (changed.priority, changed.id, type(changed)) == (3, 1, Job)


@pytest.mark.parametrize(("attempt", "expected"), [(4, False), (5, True), (6, True)])
def test_the_final_attempt_is_one_at_or_beyond_the_maximum(attempt: int, *, expected: bool) -> None:
    assert replace(job_of(*VALUES), attempt=attempt).is_final_attempt is expected


@pytest.mark.parametrize("depth", [0, -1, 101])
def test_data_may_be_nested_up_to_a_depth_that_every_interpreter_reads(depth: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"Limits\.depth must be .*, not {depth}"):
        Limits(depth=depth)


@pytest.mark.parametrize("depth", [1, 100])
def test_the_depth_of_data_may_be_limited_further(depth: int) -> None:
    assert Limits(depth=depth).depth == depth
