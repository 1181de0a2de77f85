"""What requests to the real server cost on loopback: ``python tests/benchmarks/bench_serving.py MODEL``.

``wrk`` (Debian's package) asks as fast as answers come, by 1, 2 and 4 connections: users whose states are stored in
SQLite get one new event each time, or every request has a history; the 10 best items are returned. The client takes a
part of the same cores. It needs the environment that ``make serve`` makes. MODEL is as there.

``--rate 300`` also asks so often and no more, at random times: requests that come while their connection waits are
late, which the rate that was held shows. ``--mlflow`` has ``mlflow models serve`` answer the same histories in the same
run; MODEL is a champion folder then. ``--memory 100000`` sends that many requests instead, of users, with histories
and malformed ones by turns, and tells the server's memory on the way. On a machine that does other work, only the CPU
time tells something.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import torch
from measure import Row, command_line, report

from ssm4rec.artifacts.items import read_items
from ssm4rec.registry.recommending import recommender_folder

PYTHON = Path(__file__).parents[2] / ".venv-serve" / "bin" / "python"
PORT = 8099
ADDRESS = f"http://127.0.0.1:{PORT}/v1/models/ssm4rec:predict"
MLFLOW_PORT = 8098
MLFLOW_ADDRESS = f"http://127.0.0.1:{MLFLOW_PORT}/invocations"
USERS = 200
# A user belongs to one connection, so that the events come in order; ITEMS is a list of ids as JSON.
BY_USER = """
local sequence, threads = {}, 0
function setup(thread) thread:set("number", threads); threads = threads + 1 end
function request()
    local user = number * 1000 + math.random(USERS)
    sequence[user] = (sequence[user] or 0) + 1
    local event = '{"sequence":' .. sequence[user] .. ',"item":' .. ITEMS[math.random(#ITEMS)] .. '}'
    local row = '{"user_id":"' .. PREFIX .. user .. '","events":[' .. event .. ']}'
    return wrk.format("POST", nil, {["content-type"] = "application/json"}, '{"instances":[' .. row .. ']}')
end
"""
BY_HISTORY = """
function request()
    local items = {}
    for place = 1, LENGTH do items[place] = ITEMS[math.random(#ITEMS)] end
    local row = '{"history":[' .. table.concat(items, ",") .. ']}'
    return wrk.format("POST", nil, {["content-type"] = "application/json"}, '{"instances":[' .. row .. ']}')
end
"""
# What MLflow's server takes for the same.
BY_HISTORY_OF_MLFLOW = BY_HISTORY.replace('"instances"', '"dataframe_records"')
# The gaps between requests are exponential, as of many users who know nothing of each other; MEAN_GAP in seconds.
AT_A_RATE = """
local ffi = require("ffi")
ffi.cdef("typedef struct { long s, n; } moment; int clock_gettime(int, moment *);")
local now, due = ffi.new("moment"), nil
function delay()
    ffi.C.clock_gettime(1, now)
    local time = tonumber(now.s) + tonumber(now.n) * 1e-9
    due = (due or time) - MEAN_GAP * math.log(1 - math.random())
    return math.max(0, 1000 * (due - time))
end
"""
MIXED = """
function request()
    local kind, item, body = math.random(3), ITEMS[math.random(#ITEMS)], nil
    if kind == 1 then
        local event = '{"sequence":1,"item":' .. item .. '}'
        body = '{"user_id":"u' .. math.random(USERS) .. '","events":[' .. event .. ']}'
    elseif kind == 2 then
        body = '{"history":[' .. string.rep(item .. ",", math.random(LENGTH)) .. item .. ']}'
    else
        body = '{"history":[' .. string.rep("[", math.random(LENGTH)) .. ']}'
    end
    return wrk.format("POST", nil, {["content-type"] = "application/json"}, '{"instances":[' .. body .. ']}')
end
"""


def memory(script: str, wanted: int, server: int) -> list[Row]:
    """Return the server's memory each time that a tenth of the wanted requests was answered."""
    rows: list[Row] = []
    answered = 0
    while answered < wanted:
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
            file.write(script)
            file.flush()
            said = subprocess.check_output(
                ["wrk", "-t2", "-c2", "-d10s", "--timeout=60s", "-s", file.name, ADDRESS], text=True
            )
        answered += int(re.findall(r"(\d+) requests in", said)[0])
        if answered >= (len(rows) + 1) * wanted / 10:
            status = Path(f"/proc/{server}/status").read_text()
            rows.append({"requests": answered, "MiB": int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024})
    return rows


def attack(script: str, connections: int, seconds: int, server: int, address: str = ADDRESS) -> Row:
    """Return what wrk says of one load, and the CPU time that the server's processes take for a request."""
    flags = [f"-t{connections}", f"-c{connections}", f"-d{seconds}s", "--timeout=60s", "--latency"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        before = cpu_seconds(server)
        said = subprocess.check_output(["wrk", *flags, "-s", file.name, address], text=True)
        spent = cpu_seconds(server) - before
    if "Non-2xx" in said:
        sys.exit(f"bench_serving: not all requests were answered:\n{said}")
    scales = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    shares = re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s)\b", said)
    found = {f"p{share} ms": float(value) * scales[unit] for share, value, unit in shares}
    rate = re.findall(r"Requests/sec:\s+([\d.]+)", said)
    count = re.findall(r"(\d+) requests in", said)
    costs = {"requests per second": float(rate[0]), "CPU ms": 1e3 * spent / int(count[0])}
    return {"connections": connections, **costs, **found}


def loads(named: str, length: int, seconds: int, server: int, rate: float) -> list[Row]:
    """Return what wrk says of both kinds of requests by 1, 2 and 4 connections, and at a rate by 4, unless it is 0."""
    rows = []
    paced = (f"MEAN_GAP = {4 / rate}\n{AT_A_RATE}",) if rate else ()
    for kind, script in (("user, one event", BY_USER), (f"history of {length}", BY_HISTORY)):
        for connections, pace in ((1, ""), (2, ""), (4, ""), *((4, one) for one in paced)):
            own = f"USERS = {USERS // connections}\nPREFIX = 'c{connections}{'p' * bool(pace)}u'\n"
            request = f"{kind}, {rate:g} per second" if pace else kind
            rows.append({"request": request, **attack(named + own + pace + script, connections, seconds, server)})
    return rows


def loads_of_mlflow(model: Path, named: str, length: int, seconds: int, first_item: str) -> list[Row]:
    """Return what wrk says of histories that ``mlflow models serve`` answers, by 1, 2 and 4 connections."""
    programs = Path(sys.executable).parent
    command = [programs / "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--port", MLFLOW_PORT]
    found = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}  # it looks for uvicorn there
    quiet = subprocess.DEVNULL
    with subprocess.Popen(list(map(str, command)), env=found, stderr=quiet, stdout=quiet) as server:
        try:
            wait(server, first_item, MLFLOW_ADDRESS, "dataframe_records")
            return [
                {
                    "request": f"history of {length}, MLflow's server",
                    **attack(named + BY_HISTORY_OF_MLFLOW, connections, seconds, server.pid, MLFLOW_ADDRESS),
                }
                for connections in (1, 2, 4)
            ]
        finally:
            if server.poll() is None:
                for process in [*psutil.Process(server.pid).children(recursive=True), server]:
                    process.terminate()


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process and of those that it started, so far."""
    top = psutil.Process(process)
    return sum(sum(one.cpu_times()[:2]) for one in (top, *top.children(recursive=True)))


def wait(server: "subprocess.Popen[bytes]", item_id: str, address: str = ADDRESS, wrapping: str = "instances") -> None:
    """Wait until the server answers, and warm it up."""
    body = json.dumps({wrapping: [{"history": [item_id] * 50}] * 20}).encode()
    while server.poll() is None:
        try:
            with urlopen(Request(address, body, {"content-type": "application/json"}), timeout=60):
                return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"bench_serving: the server ended; its own words: {' '.join(map(str, server.args))}")


def main() -> None:
    """Run the benchmark."""
    parser = command_line("Measure requests to the real server on loopback.", runs=1)
    parser.add_argument("model", type=Path, help="champion or model folder")
    parser.add_argument("--length", type=int, default=200, help="of the histories")
    parser.add_argument("--memory", type=int, default=0, metavar="REQUESTS", help="tell the server's memory instead")
    parser.add_argument("--rate", type=float, default=0, metavar="PER_SECOND", help="also ask so often, no more")
    parser.add_argument("--mlflow", action="store_true", help="also ask MLflow's server")
    parser.add_argument("--search", choices=("auto", "exact"), default="auto", help="as of the server")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="as of the server")
    parser.add_argument("--seconds", type=int, default=20, help="of each load")
    options = parser.parse_args()
    if not PYTHON.exists() or not shutil.which("wrk"):
        sys.exit("bench_serving: it needs .venv-serve (make serve) and wrk (apt-get install wrk)")
    ids = read_items(recommender_folder(options.model)).ids
    named = f"ITEMS = {{{','.join(f'[=[{json.dumps(item_id)}]=]' for item_id in ids)}}}\nLENGTH = {options.length}\n"
    with tempfile.TemporaryDirectory() as folder:
        command = [PYTHON, "-m", "ssm4rec.serving", options.model, "--port", PORT, "--store", f"{folder}/users.sqlite"]
        command += ["--search", options.search, "--threads", options.threads]
        server = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
        try:
            wait(server, ids[0])
            if options.memory:
                rows = memory(f"{named}USERS = {USERS}\n{MIXED}", options.memory, server.pid)
            else:
                rows = loads(named, options.length, options.seconds, server.pid, options.rate)
        finally:
            server.terminate()
            server.wait()
    report(f"serving, {len(ids)} items", rows, torch.device("cpu"), options.output)
    if options.mlflow:
        rows = loads_of_mlflow(options.model, named, options.length, options.seconds, ids[0])
        report(f"MLflow's server, {len(ids)} items", rows, torch.device("cpu"), options.output)


if __name__ == "__main__":
    main()
