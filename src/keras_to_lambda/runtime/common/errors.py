"""Every error that a caller can cause: one class each, with a stable code and an HTTP status.

    ClassifierError
    |-- InvalidRequest          400  invalid_request        a field or option that is wrong
    |   |-- InvalidJson         400  invalid_json           the body or payload is not a JSON object
    |   |-- MissingImage        400  missing_image          no image was given
    |   |-- InvalidUrl          400  invalid_url            a URL that is not fetched
    |   |-- ModelNotNamed       400  model_not_named        several models, and no default
    |   `-- UnsupportedEvent    400  unsupported_event      an AWS event that holds no images
    |-- RouteNotFound           404  route_not_found        a path that does not exist
    |-- ModelNotFound           404  model_not_found        a model that is not served here
    |-- MethodNotAllowed        405  method_not_allowed
    |-- ImageTooLarge           413  image_too_large        more bytes than MAX_IMAGE_BYTES
    |   `-- TooManyPixels       413  too_many_pixels        more pixels than accepted, or memory
    |-- TooManyImages           413  too_many_images        more images than MAX_IMAGES
    |-- AnswerTooLarge          413  answer_too_large       an answer that Lambda cannot carry
    |-- UnsupportedFormat       415  unsupported_format     not an image of a kind that we decode
    |-- UndecodableImage        422  undecodable_image      an image, but truncated or damaged
    |-- FetchFailed             424  fetch_failed           the image's host refused or failed
    |   `-- ObjectNotRead       424  fetch_failed           S3 did
    |-- DeadlineExceeded        504  deadline_exceeded      the host, or the work, took too long
    `-- InternalError           500  internal_error         our fault; the log has the request id
        `-- ResultsNotKept      500  results_not_kept       answers of a queue have nowhere to go

A direct invocation sees the class name as `errorType`; HTTP clients see code and status. Codes are
part of the API: they never change, messages may.
"""

from __future__ import annotations

from keras_to_lambda.runtime.common.formats import NAMES
from keras_to_lambda.runtime.common.record import Any, ClassVar
from keras_to_lambda.runtime.common.text import clean

# An error's text in full; a caller's words in it have limits of their own.
MAX_MESSAGE = 1000


class ClassifierError(Exception):
    """Base class. `facts` are logged and never sent to the caller.

    A message is clean by construction, whatever words of a caller it repeats.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    # Whether the same request may succeed later: a queue should then try again.
    transient: bool = False
    # The message where the image was downloaded; empty: the same as elsewhere.
    of_download: ClassVar[str] = ""

    def __init__(self, message: str, **facts: Any) -> None:
        self.message = clean(message, MAX_MESSAGE)
        super().__init__(self.message)
        self.facts = facts

    def masked(self) -> ClassifierError:
        """The same error without a word about what was downloaded; the log has it as `reason`.

        A message that names a format would let any caller see what a private host or bucket holds.
        """
        if not self.of_download:
            return self
        return type(self)(self.of_download, **self.facts, reason=self.message)

    def bare(self) -> ClassifierError:
        """The same error without causes and traceback, which the runtime would send to the caller.

        A traceback also keeps the picture in memory until a garbage collection.
        """
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    def to_json(self) -> dict[str, Any]:
        """The error as HTTP clients and lists of results carry it."""
        return {"error": {"code": self.code, "message": self.message}}


class InvalidRequest(ClassifierError):
    code = "invalid_request"
    status = 400


class InvalidJson(InvalidRequest):
    code = "invalid_json"


class MissingImage(InvalidRequest):
    code = "missing_image"


class InvalidUrl(InvalidRequest):
    code = "invalid_url"


class ModelNotNamed(InvalidRequest):
    code = "model_not_named"


class UnsupportedEvent(InvalidRequest):
    code = "unsupported_event"


class RouteNotFound(ClassifierError):
    code = "route_not_found"
    status = 404


class ModelNotFound(ClassifierError):
    code = "model_not_found"
    status = 404


class MethodNotAllowed(ClassifierError):
    """`allow` is the value of the Allow header (RFC 9110, section 10.2.1)."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, message: str, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class ImageTooLarge(ClassifierError):
    code = "image_too_large"
    status = 413


class TooManyPixels(ImageTooLarge):
    code = "too_many_pixels"
    of_download = "the downloaded image has more pixels than are accepted; scale it down first"


def too_many_bytes(limit: int) -> ImageTooLarge:
    """The error of an image with more than `limit` bytes."""
    return ImageTooLarge(f"the image has more than {limit:,} bytes; scale it down first")


class TooManyImages(ClassifierError):
    code = "too_many_images"
    status = 413


class AnswerTooLarge(ClassifierError):
    code = "answer_too_large"
    status = 413


class UnsupportedFormat(ClassifierError):
    code = "unsupported_format"
    status = 415
    of_download = (
        f"the download is not an image in a supported format ({NAMES}); the URL "
        "must point to the image file, not to a page that shows it"
    )


class UndecodableImage(ClassifierError):
    code = "undecodable_image"
    status = 422
    of_download = "the downloaded image is truncated or damaged; check that it opens in a viewer"


class FetchFailed(ClassifierError):
    """The caller gets one message for all that the far side did wrong; `reason` goes to the log.

    Different messages for "no such host", "connection refused" and "404" would make the function a
    port scanner for its callers.
    """

    code = "fetch_failed"
    status = 424
    transient = True
    advice: ClassVar[str] = (
        "the image could not be downloaded: its host must be public, reachable and answer with "
        "status 200; open the URL in a private browser window to check"
    )

    def __init__(self, reason: str, *, final: bool = False) -> None:
        """final: trying again does not help. Callers do not see it: no class or text differs."""
        super().__init__(self.advice, reason=reason)
        if final:
            self.transient = False


class ObjectNotRead(FetchFailed):
    """The same of S3, where the remedy is another. One code: what to do about it is in the text."""

    advice = (
        "the image could not be read from S3: its bucket must be among S3_ALLOWED_BUCKETS, the "
        "object must exist, and the function's role must allow s3:GetObject on it"
    )


class DeadlineExceeded(ClassifierError):
    code = "deadline_exceeded"
    status = 504
    transient = True


class InternalError(ClassifierError):
    code = "internal_error"
    status = 500
    transient = True


class ResultsNotKept(InternalError):
    code = "results_not_kept"


def every() -> list[type[ClassifierError]]:
    """Every class of error, but for the base."""
    return [
        kind
        for kind in globals().values()
        if isinstance(kind, type)
        and issubclass(kind, ClassifierError)
        and kind is not ClassifierError
    ]


class UserError(Exception):
    """What the user of a command can correct; the message states what to do."""


class SetupError(UserError):
    """The deployment is wrong, not the request: model, card or settings. Raised at start."""
