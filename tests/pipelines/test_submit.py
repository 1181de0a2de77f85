"""Submission without a cluster: it says what is missing."""

import pytest

from pipelines.submit import build_parser, run
from ssm4rec.errors import InputError


def test_missing_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    with pytest.raises(InputError, match="no KFP endpoint is set: export KF_PIPELINES_ENDPOINT"):
        run(build_parser().parse_args([]))


def test_unreachable_endpoint_is_named() -> None:
    with pytest.raises(InputError, match=r"kfp could not submit to http://127\.0\.0\.1:9"):
        run(build_parser().parse_args(["--endpoint", "http://127.0.0.1:9"]))
