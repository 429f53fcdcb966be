"""Equal values have one stored form, in every process: Python's `hash()` of a text differs between processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rexecutor import Where
from rexecutor.model.codec import canonical
from rexecutor.model.where import DataEquals
from tests.model.hash_order_program import VALUES, forms
from tests.model.typed_data import codec

PROGRAM = Path(__file__).parent / "hash_order_program.py"


@pytest.fixture(scope="module")
def forms_of_processes() -> list[dict[str, str]]:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.model.hash_order_program"],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=PROGRAM.parents[2],
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2", "3")
    ]
    return [json.loads(process.communicate(timeout=60)[0]) for process in processes]


@pytest.mark.parametrize("what", forms())
def test_equal_values_are_written_the_same_in_every_process(
    forms_of_processes: list[dict[str, str]], what: str
) -> None:
    assert {forms[what] for forms in forms_of_processes} == {forms()[what]}


@pytest.mark.parametrize("what", VALUES)
def test_data_that_hold_sets_are_found_by_equal_data(what: str) -> None:
    kind, value = VALUES[what]
    stored = codec(kind).encode(value)

    assert Where.data_equals(value) == DataEquals(canonical(stored))
    assert Where.data_equals(codec(kind).decode(stored)) == DataEquals(canonical(stored))


def test_equal_mappings_are_written_the_same() -> None:
    one, other = {"b": {"d": 1, "c": 2}, "a": 3}, {"a": 3, "b": {"c": 2, "d": 1}}
    numbered, other_numbered = {2: "b", 10: "c", 1: "a"}, {1: "a", 2: "b", 10: "c"}

    assert codec(Any).encode(one) == codec(Any).encode(other) == '{"a":3,"b":{"c":2,"d":1}}'
    assert codec(dict[int, str]).encode(numbered) == codec(dict[int, str]).encode(other_numbered)


def test_a_key_of_a_model_with_a_set_is_the_same_in_every_process() -> None:
    code = (
        "import pydantic; from rexecutor import UniquenessCriteria\n"
        "class P(pydantic.BaseModel):\n    tags: set[str]\n"
        "print(UniquenessCriteria.by_key(P(tags=set('abcdefgh'))).key)"
    )

    keys = {
        subprocess.run(
            (sys.executable, "-c", code), env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(keys) == 1
