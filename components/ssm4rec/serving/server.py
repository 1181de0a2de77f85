"""KServe's ModelServer around the engine: what is asked by HTTP, the limits, metrics and logs. See README.md.

Everything but this module works without KServe.
"""

import asyncio
import json
import logging
import time
import uuid
import warnings
from typing import Any, Final

import kserve
import kserve.errors
import kserve.model_server
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Counter, Gauge, Histogram
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import printable
from ssm4rec.serving.batching import Batcher
from ssm4rec.serving.champion import FACTS, Champion
from ssm4rec.serving.engine import Answer, Engine
from ssm4rec.serving.protocol import (
    ANSWERS,
    ROWS,
    Tensor,
    answers_tensor,
    predictions,
    refusal,
    rows_of_v1,
    rows_of_v2,
    stock_of,
)
from ssm4rec.serving.requests import RefusedRequestError
from ssm4rec.serving.store import StoreError

logger = logging.getLogger(__name__)

_VERSION: Final = 12
"""Digits of the model's digest that are shown."""
_BINARY: Final = "inference-header-content-length"
_TOO_LARGE: Final = "the body is larger than this server takes (--max-body): send rows in parts, or start it with more"
_GONE: Final = 499
"""Counted, as proxies count it, of a client that went away before all of its request was here."""
_GRACE: Final = 30
"""Seconds that requests have to end after SIGTERM."""
_BUCKETS: Final = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_TENSOR: Final = {"datatype": "BYTES", "shape": [-1]}

REQUESTS: Final = Counter("ssm4rec_requests", "POST and PUT requests", ["protocol", "status"])
SECONDS: Final = Histogram("ssm4rec_request_seconds", "From head to answer", ["protocol"], buckets=_BUCKETS)
IN_PROGRESS: Final = Gauge("ssm4rec_requests_in_progress", "Requests that have no answer yet")
ROWS_ANSWERED: Final = Counter("ssm4rec_rows", "Rows, by what answered them: model, popularity, nothing", ["answered"])
USER_ROWS: Final = Counter("ssm4rec_user_rows", "Rows of users, by whether the stored state went on", ["state"])
MODEL: Final = Gauge("ssm4rec_model_info", "1; the labels name it", ["version", *FACTS])
AGE: Final = Gauge("ssm4rec_model_age_seconds", "Since the model was registered")


class ServedModel(kserve.Model):  # type: ignore[misc]
    """The engine as KServe asks it."""

    def __init__(self, name: str, engine: Engine, threads: int) -> None:
        super().__init__(name)
        self._version = engine.version[:_VERSION]
        self._batcher = Batcher(engine, threads)
        self.ready = True

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return what a request of v2 has."""
        return [{"name": ROWS, **_TENSOR}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return what an answer of v2 has."""
        return [{"name": ANSWERS, **_TENSOR}]

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:  # noqa: ARG002 - KServe's
        """Answer a request, together with others that wait; raise HTTPException with the sentence if it is refused."""
        answer = self._of_tensors if isinstance(payload, kserve.InferRequest) else self._of_json
        try:
            return await answer(payload)
        except (RefusedRequestError, StoreError) as error:
            raise _of(error) from None

    async def _of_json(self, body: Any) -> dict[str, Any]:
        return predictions(await self._answers(rows_of_v1(body)))

    async def _of_tensors(self, request: kserve.InferRequest) -> kserve.InferResponse:
        asked = [Tensor(one.name, one.datatype, one.shape, one.data) for one in request.inputs]
        answers = answers_tensor(await self._answers(rows_of_v2(asked)))
        output = kserve.InferOutput(**answers._asdict())
        return kserve.InferResponse(request.id or str(uuid.uuid4()), self.name, [output], model_version=self._version)

    async def _answers(self, rows: Any) -> list[Answer]:
        answers = await self._batcher.answer(rows)
        for answer in answers:
            by_model = "popularity" if answer.fallback else "model"
            ROWS_ANSWERED.labels("nothing" if answer.recommendations.error else by_model).inc()
            if answer.sequence:
                USER_ROWS.labels("resumed" if answer.resumed else "computed").inc()
        return answers


class LoopbackServer(kserve.ModelServer):  # type: ignore[misc]
    """KServe's server on an address of one's choice: its own is always 0.0.0.0."""

    def __init__(self, host: str, **options: Any) -> None:
        super().__init__(**options)
        self._host = host

    async def _serve(self) -> None:
        self._rest_server.config.host = self._host
        await super()._serve()


class Watch:
    """Counts and times requests, and refuses what KServe would take but this server does not serve."""

    def __init__(self, app: ASGIApp, max_body: int) -> None:
        self._app = RequestBodyLimitMiddleware(app, max_body)  # counts the pieces of bodies without a length
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI has it."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT"):
            await self._app(scope, receive, send)
            return
        status = 500  # of an error that nobody handled

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        protocol = "v2" if scope["path"].startswith("/v2/") else "v1"
        started = time.perf_counter()
        with IN_PROGRESS.track_inprogress():
            try:
                await (self._closed(scope) or self._app)(scope, receive, watched)
            except ClientDisconnect:
                status = _GONE
            finally:
                REQUESTS.labels(protocol, str(status)).inc()
                SECONDS.labels(protocol).observe(time.perf_counter() - started)

    def _closed(self, scope: Scope) -> Response | None:
        """Return the refusal of what is too large, or what this server does not serve."""
        headers = Headers(scope=scope)
        if scope["path"].startswith("/v2/repository/"):  # anybody could unload the model by it
            return _error(404, "this server has one model, which cannot be unloaded")
        if _BINARY in headers:
            return _error(400, f"binary tensors are not read: send the tensor {ROWS} in the JSON")
        if (length := headers.get("content-length", "")).isdecimal() and int(length) > self._max_body:
            return _error(413, _TOO_LARGE)
        return None


def _of(error: RefusedRequestError | StoreError) -> HTTPException:
    if isinstance(error, StoreError):
        logger.warning("%s", error)
    return HTTPException(*refusal(error))


def _without_trace(record: logging.LogRecord) -> bool:
    """Make a line of what KServe logs of a wrong request, which is a trace of the server's."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, kserve.errors.InvalidInput | kserve.errors.ModelNotFound | NotImplementedError):
        record.levelname, record.msg, record.exc_info = "INFO", printable(str(error)), None
    return True


class JsonLines(logging.Formatter):
    """One JSON object per line of the log."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without secrets."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": printable(record.getMessage()),
        }
        if record.exc_info:
            line["trace"] = public_text(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def serve(champion: Champion, engine: Engine, name: str, *, host: str, port: int, max_body: int, threads: int) -> None:
    """Serve until SIGTERM or SIGINT, and return when the requests that were being answered have their answers.

    Args:
        champion: whose recommender the engine has.
        engine: answers.
        name: of the model in the paths.
        host: address to listen on.
        port: of TCP.
        max_body: the most bytes of a request.
        threads: large requests that are answered at a time.
    """
    _log_json()
    MODEL.labels(version=engine.version[:_VERSION], **champion.facts).set(1)
    AGE.set_function(lambda: time.time() - champion.made)
    app = kserve.model_server.app

    async def put_stock(request: Request) -> Response:
        try:
            unknown = await asyncio.to_thread(engine.set_stock, stock_of(await request.body()))
        except RefusedRequestError as error:
            raise _of(error) from None
        return JSONResponse({"unknown": unknown})

    async def forget(user: str) -> Response:
        try:
            await asyncio.to_thread(engine.forget, user)
        except StoreError as error:
            raise _of(error) from None
        return Response(status_code=204)

    app.add_api_route(f"/v1/models/{name}/stock", put_stock, methods=["PUT"])
    app.add_api_route(f"/v1/models/{name}/users/{{user:path}}", forget, methods=["DELETE"], response_model=None)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_of_v2)
    app.add_middleware(Watch, max_body=max_body)
    server = LoopbackServer(
        host,
        http_port=port,
        enable_grpc=False,
        enable_latency_logging=False,
        max_asyncio_workers=1,  # sets the stock and forgets users; answers have threads of their own
        grace_period=_GRACE,
    )
    logger.info("serving %s, version %s, on http://%s:%d", name, engine.version[:_VERSION], host, port)
    if found := champion.index:
        logger.info("items by an index: %s", found.measure())
    server.start([ServedModel(name, engine, threads)])
    logger.info("stopped")


def _log_json() -> None:
    logging.getLogger("kserve").addFilter(_without_trace)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")  # KServe's, with each answer
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonLines())
    for quiet in ("kserve.trace", "uvicorn.access"):  # lines per request: /metrics counts them
        logging.getLogger(quiet).setLevel(logging.WARNING)


async def _refused(request: Request, error: HTTPException) -> Response:
    sentence = str(error.detail)
    if error.status_code == 413:
        sentence = _TOO_LARGE
    logger.info("%s %s: %d %s", request.method, request.url.path, error.status_code, sentence)
    return _error(error.status_code, sentence)


def _error(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)


async def _not_of_v2(request: Request, error: RequestValidationError) -> Response:
    """Answer what FastAPI found wrong in a body before KServe saw it."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "InferenceRequest")
    sentence = f"{place}: {first['msg']}; send a tensor {ROWS} as the Open Inference Protocol says"
    return await _refused(request, HTTPException(400, printable(sentence)))
