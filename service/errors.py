"""What can go wrong on the way to an answer, and the one table that gives each its HTTP status.

Errors are raised deep and carry no status; answers are RFC 9457 problem details.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from models.errors import InvalidInput, LatentdError, NotSupported

PROBLEM_TYPE = "application/problem+json"


class UnknownModel(LatentdError):
    """No model has that name."""


class ModelRefused(LatentdError):
    """A bundle of that name is there, but cannot be served."""


class ModelTooLarge(LatentdError):
    """A model does not fit into the memory that models may take."""


class DuplicateModel(LatentdError):
    """Two bundles would be served under one name."""


class NoGalleries(NotSupported):
    """The service keeps no galleries."""


class UnknownGallery(LatentdError):
    """No gallery has that name."""


class UnknownItem(LatentdError):
    """No item of the gallery has that id."""


class DuplicateGallery(LatentdError):
    """There is a gallery of that name."""


class UnknownMetric(LatentdError):
    """No metric has that name."""


class UnknownJob(LatentdError):
    """No job has that id, or it was over long ago."""


class JobOver(LatentdError):
    """The job is done or has failed, and cannot be cancelled any more."""


class JobCancelled(LatentdError):
    """The job was cancelled, and has no result."""


class JobAbandoned(LatentdError):
    """The job was begun again and again, and got no further."""


class MetricsProcessDied(LatentdError):
    """The process that computes metrics has ended, by a signal or for want of memory."""


class ModelChanged(LatentdError):
    """A model is not the version any more that a job is about."""


class KeyReused(LatentdError):
    """An Idempotency-Key came a second time with another request."""


class JobFailed(LatentdError):
    """The job has failed; `problem` says why."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem


class NotServed(NotSupported):
    """The model lacks what the operation needs; `operations` are those it does serve."""

    def __init__(self, message: str, operations: Iterable[str]) -> None:
        super().__init__(message)
        self.operations = tuple(operations)


class MalformedBody(LatentdError):
    """The body cannot be parsed."""


class BodyTooLarge(LatentdError):
    """The body has more bytes than one request may have."""


class WrongMediaType(LatentdError):
    """The body is neither JSON nor multipart."""


class NotAcceptable(LatentdError):
    """No format of this answer is among those the caller accepts."""


class TryLater(LatentdError):
    """Not now; the same request may succeed in `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class JobNotDone(TryLater):
    """The job has no result yet."""


class JobsUnavailable(TryLater):
    """The database that jobs are kept in does not answer."""


class Overloaded(TryLater):
    """Too much work waits already."""


class ShareExceeded(TryLater):
    """Too much work of this caller waits already."""


class Draining(TryLater):
    """The service is stopping."""


class EngineStuck(TryLater):
    """A step of a model takes so long that it must be hung."""


class EngineStopped(TryLater):
    """The inference thread has ended."""


class OutOfMemory(TryLater):
    """Memory does not suffice for the smallest batch."""


class Hopeless(LatentdError):
    """The request could not be done in the time that it was given."""


class DeadlinePassed(LatentdError):
    """The request took longer than it was given."""


class ModelFailed(LatentdError):
    """A model raised something that is not about the caller's input."""


class OutputNotFinite(LatentdError):
    """A model gave NaN or infinity."""


class Kind(NamedTuple):
    status: int
    slug: str
    title: str
    retryable: bool = False


# The first that fits along the error's own class and its bases.
KINDS: dict[type[LatentdError], Kind] = {
    MalformedBody: Kind(400, "malformed-body", "The body cannot be parsed"),
    UnknownModel: Kind(404, "unknown-model", "There is no such model"),
    UnknownGallery: Kind(404, "unknown-gallery", "There is no such gallery"),
    UnknownItem: Kind(404, "unknown-item", "There is no such item"),
    UnknownMetric: Kind(404, "unknown-metric", "There is no such metric"),
    UnknownJob: Kind(404, "unknown-job", "There is no such job"),
    NotAcceptable: Kind(406, "not-acceptable", "No acceptable format"),
    DuplicateModel: Kind(409, "duplicate-model", "Two bundles have one name"),
    DuplicateGallery: Kind(409, "duplicate-gallery", "A gallery has that name"),
    JobNotDone: Kind(409, "job-not-done", "The job is not done yet", retryable=True),
    JobOver: Kind(409, "job-over", "The job is over"),
    JobCancelled: Kind(409, "job-cancelled", "The job was cancelled"),
    ModelChanged: Kind(409, "model-changed", "The model is another version now"),
    BodyTooLarge: Kind(413, "body-too-large", "The body is too large"),
    WrongMediaType: Kind(415, "unsupported-media-type", "The body's type is not understood"),
    InvalidInput: Kind(422, "invalid-input", "A value is wrong"),
    KeyReused: Kind(422, "idempotency-key-reused", "The key belongs to another request"),
    JobAbandoned: Kind(500, "job-abandoned", "The job never got further"),
    ModelFailed: Kind(500, "model-failed", "The model failed"),
    OutputNotFinite: Kind(500, "model-output-not-finite", "The model gave no finite numbers"),
    NotSupported: Kind(501, "not-supported", "This model cannot do that"),
    NoGalleries: Kind(501, "no-galleries", "This service keeps no galleries"),
    ModelRefused: Kind(503, "model-refused", "The model's bundle cannot be served"),
    ModelTooLarge: Kind(503, "model-too-large", "There is no room for the model"),
    JobsUnavailable: Kind(503, "jobs-unavailable", "Jobs cannot be reached", retryable=True),
    ShareExceeded: Kind(429, "share-exceeded", "Too much of your work is waiting", retryable=True),
    Overloaded: Kind(503, "overloaded", "Too much work is waiting", retryable=True),
    Draining: Kind(503, "draining", "The service is stopping", retryable=True),
    EngineStuck: Kind(503, "engine-stuck", "A step of a model hangs", retryable=True),
    EngineStopped: Kind(503, "engine-stopped", "The engine has stopped", retryable=True),
    OutOfMemory: Kind(503, "out-of-memory", "Memory does not suffice", retryable=True),
    Hopeless: Kind(504, "hopeless", "There is not enough time", retryable=True),
    DeadlinePassed: Kind(504, "deadline-passed", "The deadline has passed", retryable=True),
    LatentdError: Kind(500, "internal", "Something is wrong on our side"),
}


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["urn:latentd:problem:invalid-input"])
    title: str
    status: int
    detail: str
    param: str | None = Field(description="The field that is wrong, as in `points[1].latent`.")
    request_id: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    operations: list[str] | None = Field(
        default=None, description="With 501: the operations that this model does serve."
    )


def problem_of(error: LatentdError, request_id: str) -> Response:
    """The answer to an error."""
    headers = {}
    if isinstance(error, TryLater):
        headers["Retry-After"] = str(error.retry_after_seconds)
    document = problem_document(error, request_id)
    return Response(orjson.dumps(document), document["status"], headers, PROBLEM_TYPE)


def problem_document(error: LatentdError, request_id: str) -> dict[str, Any]:
    """What is told of an error."""
    if isinstance(error, JobFailed):
        return {**error.problem, "request_id": request_id}
    kind = _kind_of(error)
    # An error without a kind of its own was not meant for callers: its text may hold a path.
    detail = str(error) if kind.slug != "internal" else "the request could not be completed"
    document = _document(
        kind, detail, error.param if isinstance(error, InvalidInput) else None, request_id
    )
    if isinstance(error, NotServed):
        document["operations"] = list(error.operations)
    return document


def reason_of(error: LatentdError) -> str:
    """The error in one word, for counting."""
    return _kind_of(error).slug


def _kind_of(error: LatentdError) -> Kind:
    return next(KINDS[each] for each in type(error).__mro__ if each in KINDS)


def problem_of_http(error: HTTPException, request_id: str) -> Response:
    """The answer to what the framework itself refuses: no such path, no such method."""
    status = HTTPStatus(error.status_code)
    details = {
        404: "there is nothing at this path; see /openapi.json",
        405: "this path does not take that method; see the Allow header",
    }
    kind = Kind(status.value, status.phrase.lower().replace(" ", "-"), status.phrase)
    detail = details.get(status.value, status.description or status.phrase)
    document, headers = _document(kind, detail, None, request_id), dict(error.headers or {})
    return Response(orjson.dumps(document), kind.status, headers, PROBLEM_TYPE)


def problem_of_bug(request_id: str) -> Response:
    """The answer to an error that nobody foresaw; the log has the traceback."""
    detail = "the request could not be completed; the server's log says more"
    kind = KINDS[LatentdError]
    document = _document(kind, detail, None, request_id)
    return Response(orjson.dumps(document), kind.status, media_type=PROBLEM_TYPE)


async def answer_error(request: Request, error: Exception) -> Response:
    """FastAPI's handler of LatentdError, HTTPException and RequestValidationError."""
    request_id = request.scope["state"]["request_id"]
    if isinstance(error, RequestValidationError):  # of a query: bodies are parsed by ourselves
        first = error.errors()[0]
        error = InvalidInput(first["msg"], str(first["loc"][-1]))
    if isinstance(error, LatentdError):
        return problem_of(error, request_id)
    if isinstance(error, HTTPException):
        if error.status_code == 405 and request.method == "OPTIONS":
            return Response(status_code=204, headers=error.headers)
        return problem_of_http(error, request_id)
    return problem_of_bug(request_id)


def _document(kind: Kind, detail: str, param: str | None, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:latentd:problem:{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "param": param,
        "request_id": request_id,
        "retryable": kind.retryable,
    }
