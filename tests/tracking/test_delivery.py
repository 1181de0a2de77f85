"""Deliveries to another side that is silent for long; test_tracking.py has them to real MLflow servers."""

import threading

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
