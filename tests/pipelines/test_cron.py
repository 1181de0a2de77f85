"""What KFP's server would refuse is refused before anything is posted.

It parses with robfig/cron v1.2.0 (kubeflow/pipelines: backend/src/apiserver/server/api_converter.go:2089, go.mod:42):
six fields, the last of which may be missing, so that five are never the five of Unix (parser.go:95-107, 174-186); in a
field entries separated by commas, each ``*``, ``?``, a number or a range, perhaps with a step (parser.go:207-270); the
numbers and names of spec.go:18-46, where Sunday is 0 and there is no 7. A schedule that never comes has the year 1 as
its next time (spec.go:53-54).
"""

import pytest

from pipelines.cron import kfp_cron
from ssm4rec.runtime.errors import InputError


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("0 3 * * *", "0 0 3 * * *"),
        ("30 0 3 ? * 2-6", "30 0 3 ? * 2-6"),
        ("*/15 0,12 1-31/2 JAN-mar,Dec Sun", "0 */15 0,12 1-31/2 JAN-mar,Dec Sun"),
        ("5/10 23 29 2 *", "0 5/10 23 29 2 *"),
        ("0 0 31 2 mon", "0 0 0 31 2 mon"),
        ("0 0 30,31 2-3 *", "0 0 0 30,31 2-3 *"),
    ],
)
def test_what_kfp_takes(given: str, sent: str) -> None:
    assert kfp_cron(given) == sent


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("nightly", "write five fields"),
        ("@daily", "write five fields"),
        ("0 3 * *", "write five fields"),
        ("0 0 3 * * * *", "write five fields"),
        ("99 3 * * *", "the minute is 0 to 59, not 99"),
        ("60 0 3 * * *", "the second is 0 to 59, not 60"),
        ("0 24 * * *", "the hour is 0 to 23, not 24"),
        ("0 3 0 * *", "the day is 1 to 31, not 0"),
        ("0 3 1 13 *", "the month is 1 to 12 or jan to dec, not 13"),
        ("0 3 * * 7", "the weekday is 0 to 6 or sun to sat, not 7"),
        ("0 3 * * monday", "the weekday is 0 to 6 or sun to sat, not monday"),
        ("-5 3 * * *", "the minute is 0 to 59, not empty"),
        ("1, 3 * * *", "the minute is 0 to 59, not empty"),
        ("1-2-3 3 * * *", "the minute is 0 to 59, not 2-3"),
        ("*-5 3 * * *", "the minute is 0 to 59, not *"),
        ("1.5 3 * * *", "the minute is 0 to 59, not 1.5"),
        ("30-10 3 * * *", "the minute 30-10 ends before it begins"),
        ("*/0 3 * * *", "the step of the minute */0 is not a number above 0"),
        ("*/ 3 * * *", "the step of the minute */ is not a number above 0"),
        ("*/5/5 3 * * *", "the step of the minute */5/5 is not a number above 0"),
        ("0 3 31 2,4 *", "no chosen month has a day 31"),
    ],
)
def test_what_kfp_would_refuse(given: str, problem: str) -> None:
    with pytest.raises(InputError) as refused:
        kfp_cron(given)
    assert str(refused.value) == (
        f"--cron {given}: {problem}; an example is '0 3 * * *' (minute, hour, day, month, weekday)"
    )
