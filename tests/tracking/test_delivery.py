"""Deliveries to another side that is silent for long; test_tracking.py has them to real MLflow servers."""

import logging
import threading
import time

import pytest

from ssm4rec.tracking import delivery


def test_a_call_outlives_more_failures_than_a_float_has_doublings(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some 1,030 failures, hours of silence, the pause had been computed from a number too large for a float."""
    monkeypatch.setattr(delivery, "_LONGEST_PAUSE_SECONDS", 0.0)
    made = threading.Event()
    attempts = 0

    def call() -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 1100:
            raise ConnectionError("silent")
        made.set()

    def silent() -> None:
        raise ConnectionError("silent")

    delivered = delivery.Delivery("the other side", lambda _: False, silent)
    monkeypatch.setattr(delivery, "CALL_SECONDS", 0.0)
    delivered.call("a record", call)
    assert made.wait(60)


def refused() -> None:
    raise ConnectionError("nobody listens")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "the silent side" in record.message]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "CALL_SECONDS", 0.3)


def silent_delivery() -> delivery.Delivery:
    return delivery.Delivery("the silent side", lambda _: False, refused)


@pytest.mark.usefixtures("short")
def test_who_only_waits_does_not_say_that_a_silent_side_answers(caplog: pytest.LogCaptureFixture) -> None:
    """What a tracker puts there when it has given up its run: calls that ask nobody."""
    caplog.set_level(logging.INFO, logger="ssm4rec")
    delivered, given_up = silent_delivery(), threading.Event()
    delivered.call("the run", lambda: None if given_up.is_set() else refused(), 0.0)
    delivered.wait(0.2)
    given_up.set()
    delivered.say_no_more()
    delivered.wait(20)
    (line,) = lines(caplog)
    assert line.startswith("the silent side does not answer, the work goes on")


def test_a_last_call_alone_is_not_said_to_lose_records(caplog: pytest.LogCaptureFixture) -> None:
    silent_delivery().end("the run's end", refused, 1.0)
    assert lines(caplog)[1:] == ["the silent side did not take the run's end within 1 s: nobody listens"]


@pytest.mark.usefixtures("short")
def test_one_record_is_one(caplog: pytest.LogCaptureFixture) -> None:
    delivered = silent_delivery()
    delivered.call("a file", refused)
    delivered.end("the run's end", refused, 1.0)
    assert lines(caplog)[1:] == ["the silent side did not take the last 1 record within 1 s, they are lost"]


@pytest.mark.usefixtures("short")
def test_the_time_of_files_is_not_waited_for_a_silent_side(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="ssm4rec")
    delivered = silent_delivery()
    started = time.monotonic()
    delivered.call("a large file", refused, 30.0)
    delivered.end("the run's end", refused, 1.0)
    assert time.monotonic() - started < 6
    assert "waiting up to 1 s for the silent side to take 1 record" in lines(caplog)


@pytest.mark.usefixtures("short")
def test_a_side_that_answers_has_the_time_that_a_file_takes() -> None:
    kept = threading.Event()

    def upload() -> None:
        time.sleep(1.0)
        kept.set()

    silent_delivery().call("a large file", upload, 5.0)
    assert kept.is_set()
