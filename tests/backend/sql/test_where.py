"""`Where` as SQL: the text is golden, and every value is a parameter."""

from datetime import timedelta

import pytest

from rexecutor import JobStatus, Where
from rexecutor.backend.postgres.dialect import DIALECT as POSTGRES
from rexecutor.backend.sql.where import compile_where
from rexecutor.backend.sqlite.dialect import DIALECT
from rexecutor.model.where import And, DataEquals, Everything, ExecutorIn, KeyIs, MetadataEquals, Not, Or, Scheduled
from rexecutor.testing.clock import START
from rexecutor.testing.suite.hostile import TEXTS

A, B = Where.id_equals(1), Where.id_equals(2)
START_MICROS = int(START.timestamp()) * 1_000_000
ERRORS = "CASE WHEN json_valid(errors) THEN errors ELSE '[]' END"
TYPE = "CASE WHEN one.type = 'object' THEN json_extract(one.value, '$.type_name') END"
GIVEN = "SELECT value FROM json_each(CASE WHEN json_valid(tags) THEN tags ELSE '[]' END)"

GOLDEN: tuple[tuple[Where, str, tuple[object, ...]], ...] = (
    (Everything(), "(1 = 1)", ()),
    (And(()), "(1 = 1)", ()),
    (Or(()), "(1 = 0)", ()),
    (Where.id_in(), "(id IN (SELECT value FROM json_each(:p0)))", ("[]",)),
    (A, "(id = :p0)", (1,)),
    (Where.id_in(2, 1), "(id IN (SELECT value FROM json_each(:p0)))", ("[1,2]",)),
    (
        Where.id_in(2**63, 2**63 - 1, -(2**63), -(2**63) - 1, 0),
        "(id IN (SELECT value FROM json_each(:p0)))",
        ("[-9223372036854775808,0,9223372036854775807]",),
    ),
    (Where.status_in(), "(1 = 0)", ()),
    (Where.status_equals(JobStatus.SCHEDULED), "(status IN ('scheduled') AND ended_at IS NULL)", ()),
    (Where.status_equals(JobStatus.COMPLETE), "(status IN ('complete'))", ()),
    (Where.status_in(JobStatus.SCHEDULED, JobStatus.COMPLETE), "(status IN ('complete', 'scheduled'))", ()),
    (ExecutorIn(frozenset({"a"})), "(executor = :p0)", ("a",)),
    (ExecutorIn(frozenset({"b", "a"})), "(executor IN (SELECT value FROM json_each(:p0)))", ('["a","b"]',)),
    (ExecutorIn(frozenset({"a\0"})), "(executor IN (SELECT value FROM json_each(:p0)))", ("[]",)),
    (KeyIs("k"), "(unique_key IS NOT NULL AND unique_key = :p0)", ("k",)),
    (DataEquals("1e0"), "(rexecutor_canonical(CAST(data AS BLOB)) = :p0)", ("1e0",)),
    (MetadataEquals("null"), "(rexecutor_canonical(CAST(metadata AS BLOB)) = :p0)", ("null",)),
    (
        Where.tagged_by_one_of("b", "a"),
        f"(EXISTS ({GIVEN} INTERSECT SELECT value FROM json_each(:p0)))",
        ('["a","b"]',),
    ),
    (Where.tagged_by_all_of("a"), f"(NOT EXISTS (SELECT value FROM json_each(:p0) EXCEPT {GIVEN}))", ('["a"]',)),
    (Where.tagged_by_one_of("a\0"), f"(EXISTS ({GIVEN} INTERSECT SELECT value FROM json_each(:p0)))", ("[]",)),
    (Where.tagged_by_all_of("a", "\ud800"), "(1 = 0)", ()),
    (
        Where.data_at("user.0", 7),
        "(rexecutor_at(CAST(data AS BLOB), :p0) = :p1)",
        ('["user","0"]', "7e0"),
    ),
    (Where.data_at(["a\0"], 7), "(1 = 0)", ()),
    (Where.error_equals("E"), f"(EXISTS (SELECT 1 FROM json_each({ERRORS}) AS one WHERE {TYPE} = :p0))", ("E",)),
    (Where.last_error_equals("E"), f"(json_extract({ERRORS}, '$[#-1].type_name') IS :p0)", ("E",)),
    (Where.error_equals("\ud800"), "(1 = 0)", ()),
    (Where.executor_in("b", "a"), "(executor IN (SELECT value FROM json_each(:p0)))", ('["a","b"]',)),
    (Where.inserted_at_before(START), "(inserted_at < :p0)", (START_MICROS,)),
    (Where.inserted_at_older_than(timedelta(seconds=1)), "(inserted_at < (:now - :p0))", (1_000_000,)),
    (Scheduled(), "(1 = 1)", ()),
    (Where.scheduled_at_before(START), "(scheduled_at < :p0)", (START_MICROS,)),
    (Where.scheduled_at_after(START), "(scheduled_at > :p0)", (START_MICROS,)),
    (Where.scheduled_at_equals(START), "(scheduled_at >= :p0 AND scheduled_at <= :p1)", (START_MICROS,) * 2),
    (Where.scheduled_at_older_than(timedelta(seconds=1)), "(scheduled_at < (:now - :p0))", (1_000_000,)),
    (
        Where.scheduled_at_within_the_last(timedelta(microseconds=7)),
        "(scheduled_at >= (:now - :p0) AND scheduled_at <= (:now - :p1))",
        (7, 0),
    ),
    (~A, "(NOT (id = :p0))", (1,)),
    (Not(And(())), "(NOT (1 = 1))", ()),
    (A & B, "((id = :p0) AND (id = :p1))", (1, 2)),
    (A | B, "((id = :p0) OR (id = :p1))", (1, 2)),
    (A & (A | B), "(((id = :p0) OR (id = :p1)) AND (id = :p2))", (1, 2, 1)),
    (A & B | ~A, "(((id = :p0) AND (id = :p1)) OR (NOT (id = :p2)))", (1, 2, 1)),
)


@pytest.mark.parametrize(("where", "text", "values"), GOLDEN, ids=[str(number) for number in range(len(GOLDEN))])
def test_each_node_stands_in_parentheses_and_its_values_are_parameters(
    where: Where, text: str, values: tuple[object, ...]
) -> None:
    compiled = compile_where(where, DIALECT)

    assert compiled.text == text
    assert compiled.parameters == {f"p{number}": value for number, value in enumerate(values)}


PATHS = (
    (["user", "id"], "(data #> %(p0)s::text[])", [["user", "id"]]),
    (["lines", 0, "sku"], "(data #> %(p0)s::text[])", [["lines", "0", "sku"]]),
    (["-1"], "(data -> %(p0)s::text)", ["-1"]),
    (["a", "01", "b"], "(((data #> %(p0)s::text[]) -> %(p1)s::text) #> %(p2)s::text[])", [["a"], "01", ["b"]]),
)


@pytest.mark.parametrize(("path", "text", "values"), PATHS)
def test_postgresql_takes_only_what_is_one_for_the_number_of_an_element(
    path: list[str | int], text: str, values: list[object]
) -> None:
    compiled = compile_where(Where.data_at(path, 7), POSTGRES)

    last = f"p{len(values)}"
    assert compiled.text == f"(coalesce({text}::jsonb = %({last})s::jsonb, false))"
    assert list(compiled.parameters.values()) == [*values, "7e0"]


def test_no_value_is_ever_in_the_text() -> None:
    texts = {
        compile_where(
            And((ExecutorIn(frozenset({text})), Where.tagged_by_one_of(text), Where.data_equals(text), KeyIs(text))),
            DIALECT,
        ).text
        for text in TEXTS
    }

    assert len(texts) == 1


def test_a_wide_group_is_parted_into_smaller_ones() -> None:
    where = Or((A,) * 120)

    text = compile_where(where, DIALECT).text

    assert text.count("(id = ") == 120
    assert max(part.count(" OR ") for part in text.split(") OR (")) <= 50
    assert text.startswith("(((id = :p0) OR (id = :p1)")
