"""Look after runs on a cluster: ``python -m pipelines.operate --help`` (``make status``, ``make logs``, ...).

``make submit`` and ``make status`` print the ids of runs.
"""

import argparse
import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import botocore.exceptions

from pipelines.cluster import connected, endpoint_of
from pipelines.packages import COMPILED, STAGES
from ssm4rec.artifacts.names import REPORT_HTML
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.object_store import s3_client
from ssm4rec.runtime.signals import ending_children
from ssm4rec.settings.command_line import StageParser, run_stage
from ssm4rec.settings.outputs import refuse_address

ROLE: Final = "pipelines.kubeflow.org/runtime-role"
"""What KFP writes on every pod: driver, or launcher, which runs a stage (2.17.0, backend/src/common/util/consts.go)."""

_TASK: Final = re.compile(rf"({'|'.join(stage.replace('_', '-') for stage in STAGES)})(-\d+)?|.*-driver")
"""Names of tasks, and of KFP's drivers, among those of all nodes of Argo's tree, which is what KFP reports (2.17.0,
backend/src/common/util/workflow.go:906): what is around a task fails along with it."""


_MISSING: Final = "(make: RUN=) is missing: give the id of a run; make status lists them"
_LISTED: Final = 20
"""Runs that are listed, the newest."""


def _run_id(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError(_MISSING)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a run; make status lists them")
    return text


def _file(text: str) -> Path:
    refuse_address(text, "file")
    return Path(text)


def build_parser() -> StageParser:
    """Return the command line."""
    parser = StageParser("pipelines.operate", "Look after runs on a Kubeflow Pipelines cluster.")
    parser.add_argument("what", choices=("status", "logs", "stop", "report"), help="what to do with the run")
    parser.add_argument("--run", type=_run_id, help="id of the run, from make submit; left out: status lists all")
    parser.add_argument("--endpoint", default="", help="KFP API address; empty: KF_PIPELINES_ENDPOINT or KFP_ENDPOINT")
    parser.add_argument("--namespace", default="kubeflow", help="namespace that the run's pods are in")
    parser.add_argument("--bucket", default="mlpipeline", help="bucket of KFP's artifacts; AWS_... say where it is")
    parser.add_argument("--out", type=_file, default=Path(REPORT_HTML), help="file that receives the report")
    return parser


def run(options: argparse.Namespace) -> None:
    """Do what is asked."""
    if options.run is None and options.what != "status":
        raise InputError(f"--run {_MISSING}")
    match options.what:
        case "status":
            with connected(endpoint_of(options.endpoint)) as client:
                if options.run is None:
                    _list_runs(client)
                else:
                    _show_status(client.get_run(options.run))
        case "logs":
            _show_logs(options.run, options.namespace)
        case "stop":
            with connected(endpoint_of(options.endpoint)) as client:
                client.terminate_run(options.run)
            print(f"{options.run}: told to stop; what is finished stays, and checkpoints on the volume are kept")
        case "report":
            _fetch_report(options.run, options.bucket, options.out)


def _list_runs(client: Any) -> None:
    """Print the newest runs, a line each: id, when it was created, state and name."""
    runs = client.list_runs(page_size=_LISTED, sort_by="created_at desc").runs or []
    for run in runs:
        print(f"{run.run_id}  {run.created_at:%Y-%m-%d %H:%M}  {run.state or '':9}  {run.display_name}")
    if not runs:
        print("no run yet; make submit starts one")


def _show_status(run: Any) -> None:
    """Print how a run stands or ended: its state, the tasks that failed, where its report is.

    KFP says of a run that was stopped that it failed, once it has ended; its history knows more (2.17.0,
    backend/src/common/util/workflow.go:314, backend/src/apiserver/storage/run_store.go:618).
    """
    states = [run.state, *(entry.state for entry in run.state_history or [])]
    stopped = "CANCELING" in states or "CANCELED" in states
    state = f"{run.state}, stopped" if stopped else run.state
    print(f"{run.run_id} ({run.display_name}): {state}{_time_taken(run)}")
    if run.error and run.error.message:
        print(f"  KFP says: {' '.join(run.error.message.split())}")
    details = (run.run_details and run.run_details.task_details) or []
    failed = Counter(detail.display_name for detail in details if detail.state == "FAILED")
    named = [name for name in sorted(failed) if _TASK.fullmatch(name)]
    if named:
        tasks = ", ".join(f"{name} ({failed[name]} times)" if failed[name] > 1 else name for name in named)
        print(f"  {'running when it was stopped' if stopped else 'failed'}: {tasks} (make logs RUN={run.run_id})")
    for name, output in (run.plugins_output or {}).items():
        if "run_url" in (output.entries or {}):
            print(f"  {name}: {output.entries['run_url'].value}")
    if any(detail.display_name == "report" and detail.state == "SUCCEEDED" for detail in details):
        print(f"  its report: make report RUN={run.run_id}")


def _time_taken(run: Any) -> str:
    if run.finished_at is None or run.finished_at <= run.created_at:  # the API says 1970 of a run that has not ended
        return ""
    return f" after {run.finished_at - run.created_at}".partition(".")[0]


def _show_logs(run_id: str, namespace: str) -> None:
    """Print what the stages of a run printed; follow those that still run.

    A run of the default study has 76 pods, of which those of KFP's drivers say nothing of use, and kubectl follows 20
    at most: so the pods are listed first, and those that run a stage are kept.
    """
    pods = sorted(_pods(run_id, namespace), key=lambda pod: pod["metadata"]["creationTimestamp"])
    if not pods:
        raise InputError(
            f"{run_id}: no pod of a stage in namespace {namespace}; KFP removes pods an hour after a run's end, and "
            "keeps their output as the artifact executor-logs of each task, in the UI and in the bucket"
        )
    running = [pod for pod in pods if pod["status"].get("phase") == "Running"]
    for pod in pods:
        if pod not in running:
            subprocess.run(_logs(pod, namespace), check=False)
    followers: list[subprocess.Popen[bytes]] = []

    def end(number: signal.Signals) -> None:
        for follower in followers:
            follower.send_signal(number)

    with ending_children(end):
        followers.extend(subprocess.Popen([*_logs(pod, namespace), "--follow"]) for pod in running)
        for follower in followers:
            follower.wait()


def _pods(run_id: str, namespace: str) -> Iterator[dict[str, Any]]:
    command = ["kubectl", "get", "pods", "-n", namespace, "-l", f"pipeline/runid={run_id}", "-o", "json"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError("kubectl: not found; install it, and let it talk to the cluster") from None
    if done.returncode:
        *_, last = ["it says nothing", *done.stderr.split("\n")[:-1]]  # before it, the same for each of its attempts
        raise InputError(f"kubectl could not list the pods: {last}")
    for pod in json.loads(done.stdout)["items"]:
        begun = pod["status"].get("phase") in ("Running", "Succeeded", "Failed")
        if begun and pod["metadata"].get("annotations", {}).get(ROLE) == "launcher":
            yield pod


def _logs(pod: dict[str, Any], namespace: str) -> list[str]:
    return ["kubectl", "logs", "-n", namespace, pod["metadata"]["name"], "-c", "main", "--prefix"]


def _fetch_report(run_id: str, bucket: str, out: Path) -> None:
    """Copy a run's report.html from the bucket.

    KFP puts it at v2/artifacts/PIPELINE/RUN/report.../SALT/report_html (backend/src/v2/driver/driver.go:775 and :786).
    """
    try:
        client = s3_client(attempts=4)
        for package in COMPILED.glob("*.yaml"):
            prefix = f"v2/artifacts/{package.stem.replace('_', '-')}/{run_id}/"
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            for entry in (entry for page in pages for entry in page.get("Contents", [])):
                if entry["Key"].endswith("/report_html"):
                    client.download_file(bucket, entry["Key"], str(out))
                    print(f"{out}: the report of run {run_id}")
                    return
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise InputError(
            f"s3://{bucket}: the store does not answer as it should ({error}); forward its port and set "
            "AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from None
    raise InputError(f"s3://{bucket}/v2/artifacts: no report of run {run_id}; has it ended? (make status RUN={run_id})")


def main() -> None:
    """Run from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()
