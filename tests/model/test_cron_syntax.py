"""Expressions that people bring from other programs: what the refusal tells them to write instead."""

from datetime import timedelta
from typing import Any

import pytest

from rexecutor import Cron
from rexecutor.errors import ConfigurationError
from rexecutor.model.cron_fields import FIELDS, advice

WRAPPED = [
    ("0 0 * * SAT-SUN", "day-of-week 'SAT-SUN': the range wraps around; write SAT,SUN", "0 0 * * SAT,SUN"),
    ("0 0 * * fri-mon", "write FRI,SAT,SUN,MON", "0 0 * * FRI,SAT,SUN,MON"),
    ("0 0 * * WED-SUN", "write WED-SAT,SUN", "0 0 * * WED-SAT,SUN"),
    ("0 0 * * MON-SUN", "wraps around; write *", "0 0 * * *"),
    ("0 0 * * 7-2", "write 0-2", "0 0 * * 0-2"),
    ("0 22-2 * * *", "hour '22-2': the range wraps around; write 22,23,0-2", "0 22,23,0-2 * * *"),
    ("0 1,22-2 * * *", "hour '22-2' in '1,22-2': the range wraps around; write 22,23,0-2", "0 1,22,23,0-2 * * *"),
    ("0 22-2/2 * * *", "write 22,0,2", "0 22,0,2 * * *"),
    ("0 0 1 NOV-FEB *", "month 'NOV-FEB': the range wraps around; write NOV,DEC,JAN,FEB", "0 0 1 NOV,DEC,JAN,FEB *"),
    ("50-10 * * * *", "write 50-59,0-10", "50-59,0-10 * * * *"),
    ("0 0 25-5 * *", "write 25-31,1-5", "0 0 25-31,1-5 * *"),
]
QUARTZ_AND_AWS = [
    ("0 0 12 * * ?", "day-of-week '?': ? is not supported; write *", "0 0 12 * * *"),
    (
        "0 0 0 ? * 2-6",
        "write *; if it comes from Quartz or AWS, where 1 is Sunday, write 0 0 0 * * 1-5",
        "0 0 0 * * 1-5",
    ),
    ("0 0 12 ? * MON-FRI *", "there is no year field, leave it out; write 0 0 12 * * MON-FRI", "0 0 12 * * MON-FRI"),
    ("0 0 0 1 1 * 2027", "seven fields: there is no year field, leave it out; write 0 0 0 1 1 *", "0 0 0 1 1 *"),
    (
        "15 10 ? * 6L 2022-2023",
        "leave it out; write 15 10 * * 5L, because 1 is Monday here, Sunday in Quartz",
        "15 10 * * 5L",
    ),
    ("0 10 * * ? *", "six fields begin with the seconds, and there is no year field; write 0 10 * * *", "0 10 * * *"),
    ("0 15 10 ? * 6L 2026", "leave it out; write 0 15 10 * * 5L, because 1 is", "0 15 10 * * 5L"),
    ("0 15 10 ? * 2-6/2,7#3 *", "leave it out; write 0 15 10 * * 1-5/2,6#3, because", "0 15 10 * * 1-5/2,6#3"),
    ("0 10 ? * 1 *", "there is no year field; write 0 10 * * 0, because", "0 10 * * 0"),
    ("cron(0 10 ? * 2,4 *)", "write 0 10 * * 1,3, because 1 is Monday here", "0 10 * * 1,3"),
    ("0 10 ? * 7", "from Quartz or AWS, where 1 is Sunday, write 0 10 * * 6", "0 10 * * 6"),
    ("cron(0 10 ? * MON-FRI *)", "only what stands in the brackets is read, without", "0 10 * * MON-FRI"),
    ("rate(5 minutes)", "intervals are not supported; write the times at which it is due, such as", "*/5 * * * *"),
    ("0 0 15W * *", "W is supported in LW only; write 15, or 14-16 and choose the day in `execute`", "0 0 14-16 * *"),
    ("0 0 1W * *", "write 1, or 1-3 and", "0 0 1-3 * *"),
    ("0 0 31W * *", "write 31, or 29-31 and", "0 0 29-31 * *"),
    ("0 0 W * *", "write LW", "0 0 LW * *"),
    ("0 0 L-3 * *", "days are not counted from the end; write L for the last day", "0 0 L * *"),
    ("0 0 * * L", "L needs a weekday; write 6L for the last Saturday of the month, or 6", "0 0 * * 6L"),
    ("0 0 * * FRIL", "day-of-week 'FRIL': write 5L", "0 0 * * 5L"),
    ("0 0 * * FRI#6", "1 to 5 expected after the #; for the last one write 5L", "0 0 * * 5L"),
    ("0 0 * * MON-FRI#1", "one weekday expected before the #; write 1#1,2#1", "0 0 * * 1#1,2#1,3#1,4#1,5#1"),
    ("0 0 5#2 * *", "day-of-month '5#2': 5#2 belongs in the day-of-week field", "0 0 * * 5#2"),
    ("0 L * * *", "hour 'L': L belongs in the day-of-month field", "0 0 L * *"),
    ("0 0 L/2 * *", "no step can follow L; write L", "0 0 L * *"),
    ("/5 * * * *", "minute '/5': write */5", "*/5 * * * *"),
]
OTHERS = [
    ("H * * * *", "a value chosen at random is not supported; choose one, such as 7", "7 * * * *"),
    ("H/15 * * * *", "at random is not supported; write */15", "*/15 * * * *"),
    ("0 H(0-7) * * *", "hour 'H(0-7)': a value chosen at random", "0 7 * * *"),
    ("0~59 * * * *", "a value chosen at random", "7 * * * *"),
    ("0 0 * * L5", "write 5L", "0 0 * * 5L"),
    ("0 0 last * *", "day-of-month 'LAST': write L", "0 0 L * *"),
    ("@every 5m", "intervals are not supported", "*/5 * * * *"),
    ("every 5 minutes", "intervals are not supported", "*/5 * * * *"),
    ("PT5M", "intervals are not supported", "*/5 * * * *"),
    ("@minutely", "no such alias; write * * * * *", "* * * * *"),
    ("@quarterly", "no such alias; write 0 0 1 1,4,7,10 *", "0 0 1 1,4,7,10 *"),
    ("daily", "write @daily", "@daily"),
    ("minutely", "write * * * * *", "* * * * *"),
    (
        "Mon..Fri 09:00",
        "systemd's calendar is not supported; write cron fields, such as 0 9 * * MON-FRI",
        "0 9 * * MON-FRI",
    ),
    ("*-*-* 09:00:00", "systemd's calendar is not supported", "0 9 * * *"),
    ("*:0/15", "systemd's calendar is not supported", "*/15 * * * *"),
    ("Mon *:30", "systemd's calendar is not supported", "30 * * * MON"),
    ("0 0 * * MON..FRI", "day-of-week 'MON..FRI': write MON-FRI", "0 0 * * MON-FRI"),
    ("0 9:30 * * *", "a time of day takes two fields, the minute first; write 30 9", "30 9 * * *"),
    ("TZ=Europe/Berlin 0 0 * * *", 'leave it out, and give timezone=ZoneInfo("Europe/Berlin")', "0 0 * * *"),
    ("0 0 * * * Europe/Berlin", 'leave it out, and give timezone=ZoneInfo("Europe/Berlin")', "0 0 * * *"),
    ("'0 0 * * *'", "the quotes are part of the text; write 0 0 * * *", "0 0 * * *"),
]
MISTAKES = [
    ("0 0 31 2 *", "day-of-month '31': the month given has at most 29 days; write L for", "0 0 L 2 *"),
    ("0 0 31 4,6 *", "day-of-month '31': the months given have at most 30 days", "0 0 L 4,6 *"),
    ("0 0 * * MON, FRI", "a field has no spaces; write 0 0 * * MON,FRI", "0 0 * * MON,FRI"),
    ("1, 15 * * * *", "a field has no spaces; write 1,15 * * * *", "1,15 * * * *"),
    ("0 9 - 17 * * *", "a field has no spaces; write 0 9-17 * * *", "0 9-17 * * *"),
    ("*/ 5 * * * *", "a field has no spaces; write */5 * * * *", "*/5 * * * *"),
    ("0 0 * * MON;FRI", "write MON,FRI", "0 0 * * MON,FRI"),
    ("0 0 * * MON,,FRI", "day-of-week '' in 'MON,,FRI': an entry between commas is empty", "0 0 * * MON,FRI"),
    ("0 0 * MON *", "month 'MON': MON is a weekday and belongs in the day-of-week field", "0 0 * * MON"),
    ("0 JAN * * *", "hour 'JAN': JAN is a month and belongs in the month field", "0 0 * JAN *"),
    ("0 0 * * MONDAY-FRIDAY", "write MON-FRI", "0 0 * * MON-FRI"),
    ("0 0 1 SEPT *", "write SEP", "0 0 1 SEP *"),
    ("0 0 * * TU,TH", "day-of-week 'TU' in 'TU,TH': write TUE", "0 0 * * TUE,THU"),
    ("*/0 * * * *", "a step of 1 or more expected; write *", "* * * * *"),
    ("*/60 * * * *", "a step of at most 59 expected; write 0", "0 * * * *"),
    ("*/120 * * * *", "a step of at most 59 expected; write 0, and */2 as the hour", "0 */2 * * *"),
    ("0 */24 * * *", "a step of at most 23 expected; write 0", "0 0 * * *"),
    ("*5 * * * *", "write */5 or 5", "*/5 * * * *"),
    ("*/1.5 * * * *", "whole numbers expected, 0 to 59", "*/2 * * * *"),
    ("0 0 * * MON/FRI", "a number expected after the /", "0 0 * * MON-FRI"),
]


@pytest.mark.parametrize(("text", "message", "right"), [*WRAPPED, *QUARTZ_AND_AWS, *OTHERS, *MISTAKES])
def test_a_form_of_another_program_is_refused_with_the_form_of_ours(text: str, message: str, right: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Cron(text)

    assert str(caught.value).startswith(f"Cron: {text!r}: ")
    assert message in str(caught.value)
    assert Cron(right)


@pytest.mark.parametrize("text", ["@daily", "@Daily", "0 0 * * mon-fri", "0 0 1 jan *", "1-5/2 * * * *", "0 0 l * *"])
def test_what_cron_has_in_any_case_is_read(text: str) -> None:
    assert Cron(text)


@pytest.mark.parametrize("value", [timedelta(minutes=5), 5, {"hour": 2}])
def test_what_is_no_text_is_refused_with_a_text_to_write(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Cron: (timedelta|int|dict) given.* such as .*\* \* \*"):
        Cron(value)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_what_nothing_is_known_of_is_refused_with_the_bounds_of_the_field(field: Any) -> None:
    assert advice(field, "!").startswith(f"{field.low} to {field.high}")
