"""What a registered champion answers behind a real ``mlflow models serve``; one server for all requests."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from ssm4rec.registry import serving
from ssm4rec.stages.register_champion.__main__ import run
from ssm4rec.stages.register_champion.settings import Settings
from ssm4rec.tracking import start_study, start_task
from ssm4rec.training.model_folder import read_model
from tests.datasets import write_dataset_folder, write_items
from tests.mlflow_stores import new_store
from tests.seaweed import free_ports
from tests.trained_models import write_random_model

pytestmark = pytest.mark.filterwarnings(
    # MLflow's own: at import, about the input example, and of its store.
    "ignore:.*Any type hint is inferred:UserWarning",
    "ignore:Operation with range:DeprecationWarning",
    "ignore:.*noload:DeprecationWarning",
)

SEQUENCES = [[(start + step) % 12 + 1 for step in range(6 + start % 9)] for start in range(40)]
TITLES: list[str | None] = [f"Film {item} (1995)" for item in range(1, 12)]
TITLES.append("Null")  # a null is not this film


@dataclass(frozen=True)
class Served:
    """A server's address, and the model folder that it answers from; item ids are 1 to 12."""

    address: str
    model: Path

    def ask(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        body = json.dumps(request).encode()
        posted = urllib.request.Request(
            f"{self.address}/invocations", body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(posted, timeout=60) as answer:
            predictions: list[dict[str, Any]] = json.load(answer)["predictions"]
        return predictions

    def records(self, *histories: Any, **params: Any) -> list[dict[str, Any]]:
        return self.ask({"dataframe_records": [{"history": history} for history in histories], "params": params})

    def refusal(self, request: dict[str, Any]) -> str:
        """Return the message of an answer 400, which holds no stack trace."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.ask(request)
        assert refused.value.code == 400
        answer = json.load(refused.value)
        assert answer.keys() <= {"error_code", "message", "sqlstate", "error_class"}
        message: str = answer["message"]
        assert "Traceback" not in message
        return message

    def best(self, history: list[int], count: int = 10, masked: bool = False) -> tuple[list[str], list[float]]:
        """Return ids and scores straight from the model."""
        with torch.no_grad():
            scores = read_model(self.model).model.score_next(torch.tensor([history]), torch.tensor([len(history)]))[0]
        if masked:
            scores[torch.tensor(history) - 1] = -torch.inf
        found = scores.topk(min(count, 12 - masked * len(set(history))))
        return [str(place + 1) for place in found.indices.tolist()], found.values.tolist()

    def check(self, answer: dict[str, Any], history: list[int], unknown: tuple[str, ...] = ()) -> None:
        """Assert that an answer is the model's to that history alone."""
        ids, scores = self.best(history)
        assert answer["item_ids"] == ids
        assert answer["titles"] == [TITLES[int(item_id) - 1] for item_id in ids]
        assert answer["scores"] == pytest.approx(scores, abs=1e-5)
        assert (answer["unknown"], answer["error"]) == (list(unknown), "")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``mlflow models serve`` of the champion that a store names."""
    folder = tmp_path_factory.mktemp("served")
    dataset = write_items(write_dataset_folder(folder / "dataset", SEQUENCES), TITLES, prefix="")
    model = write_random_model(dataset, folder / "model", "2mamba4rec", 0.3, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", new_store(folder / "mlflow.db"))
        _, study = start_study("study", {})
        for name, value in start_task("register", study).items():
            patch.setenv(name, value)
        flags = ["--dataset-dir", dataset, "--models", model, "--champion-dir", folder / "champion"]
        flags += ["--registration", folder / "registration.json"]
        run(Settings.parser().parse_args(list(map(str, flags))))
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/ssm4rec-toy@champion"]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = folder / "server.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        ) as process,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address, process, log)
            yield Served(address, model)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(360):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/ping", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"the server does not answer: {log.read_text()}")


def test_ids_and_titles(served: Served) -> None:
    histories = [["3", "4", "5"], ["Film 7 (1995)", "film 8 (1995)"], ["9", "Film 10 (1995)", "Alien (1979)"]]
    first, second, third = served.records(*histories)
    served.check(first, [3, 4, 5])
    served.check(second, [7, 8])
    served.check(third, [9, 10], ("Alien (1979)",))
    (masked,) = served.records(["3", "4"], k=12, masked=True)
    assert masked["item_ids"] == served.best([3, 4], 12, masked=True)[0]


NAN = float("nan")


@pytest.mark.parametrize(
    ("history", "items", "unknown"),
    [
        (["12", "3", None], [12, 3], ("null",)),  # was the answer to ["1", "3"]
        ([None, "12", NAN], [12], ("null", "null")),
        ([12, 3], [12, 3], ()),
        ([12, "3", None, "Film 1 (1995)"], [12, 3, 1], ("null",)),
        ([12.0, 3], [12, 3], ()),
        (["12", "", "  ", "012", " 3 ", "3"], [12, 3], ("", "  ", "012", " 3 ")),
        (["null", 2**53 + 1, 2**70, -3, "12"], [12, 12], (str(2**53 + 1), str(2**70), "-3")),
    ],
)
def test_entries(served: Served, history: list[Any], items: list[int], unknown: tuple[str, ...]) -> None:
    """In every form of request that reaches the model whole, alone and among other rows."""
    (alone,) = served.records(history)
    served.check(alone, items, unknown)
    rows = [["5", "6"], history, None]
    for request in (
        {"dataframe_records": [{"history": row, "user": 7} for row in rows]},
        {"dataframe_split": {"columns": ["user", "history"], "index": [7, 7, 8], "data": [[7, row] for row in rows]}},
        {"inputs": [{"history": row} for row in rows]},
        {"inputs": rows},
        {"inputs": {"history": rows}},
        {"instances": rows},
    ):
        first, second, third = served.ask(request)
        served.check(first, [5, 6])
        served.check(second, items, unknown)
        assert third["error"] == "row 2: nothing to go by in this history, it is empty"


NOT_A_NAME = "neither a text nor a whole number nor null"


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ("3", "history is '3', not a list of item ids or titles"),
        (3, "history is 3, not a list of item ids or titles"),
        ({"3": 1}, "history is {'3': 1}, not a list of item ids or titles"),
        (["12", True], f"entry 1 of history is true, {NOT_A_NAME}"),
        (["12", 1.5], f"entry 1 of history is 1.5, {NOT_A_NAME}"),
        ([float("inf")], f"entry 0 of history is inf, {NOT_A_NAME}"),
        (["12", ["3"]], f"entry 1 of history is ['3'], {NOT_A_NAME}"),
        ([{"id": "\x1b[31m"}], f"entry 0 of history is {{'id': '\\\\x1b[31m'}}, {NOT_A_NAME}"),
        (
            [2.0**53],
            "entry 0 of history is 9007199254740992.0, a floating-point number too large to be one whole number; "
            "send it as a text",
        ),
    ],
)
def test_a_malformed_history(served: Served, history: Any, why: str) -> None:
    """It is refused, and among others it costs no other row its answer."""
    assert served.refusal({"dataframe_records": [{"history": history}]}) == f"row 0: {why}"
    assert served.refusal({"inputs": [{"history": history}, {"history": [True]}]}) == f"row 0: {why}"
    first, second, third = served.records(["12", "3"], history, [5, 6])
    served.check(first, [12, 3])
    served.check(third, [5, 6])
    assert second == {"item_ids": [], "titles": [], "scores": [], "unknown": [], "error": f"row 1: {why}"}


def test_a_history_with_nothing_in_it(served: Served) -> None:
    request = {"dataframe_records": [{"history": []}, {}, {"history": None}, {"history": [None]}, {"history": ["3"]}]}
    *empty, nothing_known, known = served.ask(request)
    assert [one["error"] for one in empty] == [
        f"row {row}: nothing to go by in this history, it is empty" for row in range(3)
    ]
    assert nothing_known["unknown"] == ["null"]
    assert nothing_known["error"].endswith("none of its entries is an item's id or title")
    served.check(known, [3])


def test_the_whole_catalog_masked(served: Served) -> None:
    full, other = served.records([*range(1, 13), "Alien (1979)"], ["3"], masked=True)
    assert (full["item_ids"], full["unknown"]) == ([], ["Alien (1979)"])
    assert full["error"] == (
        "row 0: nothing to recommend, all 12 items are in this history, and masked leaves those out"
    )
    assert other["item_ids"] == served.best([3], masked=True)[0]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"k": None}, "k is null: a whole number from 1 to 1000"),
        ({"k": 0}, "k is 0: a whole number from 1 to 1000"),
        ({"k": -1}, "k is -1: "),
        ({"k": 1001}, "k is 1001: "),
        ({"k": 10**60}, "k is a number of more than 40 digits: "),
        ({"masked": None}, "masked is null: true or false"),
        # These MLflow refuses, by the signature.
        ({"k": 1.5}, "Can not safely convert `<class 'float'>` to `DataType.long` for value `1.5`"),
        ({"k": "3"}, "for value `3`"),
        ({"k": True}, "for value `True`"),
        ({"masked": "yes"}, "Can not safely convert `<class 'str'>` to `DataType.boolean` for value `yes`"),
        ({"masked": 0}, "for value `0`"),
        ([3], "Parameters must be a dictionary"),
    ],
)
def test_parameters(served: Served, params: Any, said: str) -> None:
    assert said in served.refusal({"dataframe_records": [{"history": ["3"]}], "params": params})


def test_more_than_the_catalog_has(served: Served) -> None:
    (answer,) = served.records(["3"], k=1000)
    assert len(answer["item_ids"]) == 12


@pytest.mark.parametrize(
    ("request_body", "said"),
    [
        ({"dataframe_records": []}, "the request has no row with a history: send"),
        ({"dataframe_records": [{"items": ["3"]}]}, "the request has no row with a history: send"),
        ({"dataframe_records": [{"history": ["3"]}, None]}, "not a valid dataframe representation"),
        ({"inputs": [12, 3]}, "row 0: history is 12, not a list"),
        ({"dataframe_records": [{"history": ["3"]}] * 10_001}, "10001 rows: at most 10000 in a request, send them in"),
        (
            {"dataframe_records": [{"history": ["3"]}] * 1_001, "params": {"k": 1000}},
            "1001 rows with k 1000: at most 1000000 recommendations in a request",
        ),
        ({"dataframe_records": [{"history": ["3"] * 100_001}]}, "history has 100001 entries: at most 100000, send the"),
    ],
)
def test_requests_that_are_wrong_as_a_whole(served: Served, request_body: dict[str, Any], said: str) -> None:
    assert said in served.refusal(request_body)


def test_the_limits_are_those_of_the_readme() -> None:
    readme = (Path(serving.__file__).parent.parent / "stages" / "register_champion" / "README.md").read_text()
    for limit in (serving.MOST_ROWS, serving.MOST_ENTRIES, serving.MOST_K, serving.MOST_ANSWERS):
        assert f"{limit:,}" in readme
