"""A store in an S3 bucket. Credentials, region and endpoint come from the environment, as in any AWS tool."""

import io
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ResponseStreamingError as BrokenStream

from runtime import keys
from runtime.store import Body, Data, Found, Held, KeyNotFound, Store, StoreUnavailable, TransientError

_CONFLICT_TRIES = 5
_CHUNK_BYTES = 1 << 20
_TRANSIENT_CODES = {"SlowDown", "RequestTimeout", "ThrottlingException", "TooManyRequests"}
"""Beside all answers with status 429 and 5xx
(docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, read 2026-11-24)."""
THERE_AT = "there-at"
"""Metadata of an inbox object: Unix time at which its PUT was expected to be done. S3 itself tells when an object came
by an HTTP date, in whole seconds (RFC 9110, 5.6.7)."""


CLIENT_CONFIG = Config(
    max_pool_connections=32,
    connect_timeout=5,
    read_timeout=20,
    retries={"mode": "standard", "total_max_attempts": 1},
    tcp_keepalive=True,
    # S3 verifies the transfer anyway (TLS); a second checksum of every activation costs CPU time.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
"""Of an S3Store's client. Its pool holds a connection for each request that the lanes may have under way. It tries each
request once, as ``runtime.store`` says.

The AWS common runtime (awscrt) is not used. boto3 has it in its transfer manager only, which asks for an object's size
by a HEAD before each GET, also of one that is not there yet. Tried with s3transfer 0.19.3 and awscrt 0.38.1 on the
embedded AWS, medians of one object at a time, this store's in brackets: GET of 1 KiB 18 ms (9), of 8 MiB 104 ms (52);
PUT of 1 KiB 11 ms (10), of 8 MiB 276 ms (244)."""


@cache
def shared_client() -> Any:
    """The process's one S3 client, made when first needed; boto3 clients may be used by several threads."""
    return boto3.client("s3", config=CLIENT_CONFIG)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _told_apart() -> Iterator[None]:
    """Turns errors that may pass into TransientError; all others are left as they are."""
    try:
        yield
    except (HTTPClientError, ConnectionError, BrokenStream, IncompleteReadError) as error:
        raise TransientError(f"{type(error).__name__}: {error}") from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if _code(error) in _TRANSIENT_CODES or status == 429 or status >= 500:
            raise TransientError(str(error)) from error
        raise


def _there_at(answer: dict[str, Any]) -> float | None:
    """What an object's metadata say; None where they say nothing, or no time."""
    try:
        at = float(answer.get("Metadata", {}).get(THERE_AT, "nan"))
    except ValueError:
        return None
    return at if math.isfinite(at) else None


class _Window(io.RawIOBase):
    """A file over memory that is read in slices, not in copies; boto3 takes no memoryview."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = origin + offset
        return self._at

    def read(self, size: int = -1) -> memoryview:  # type: ignore[override]
        end = len(self._view) if size is None or size < 0 else self._at + size
        part = self._view[self._at : end]
        self._at += len(part)
        return part


class S3Store(Store):
    """One bucket. ``client`` is for tests and benches; else the process's own.

    Whoever awaits objects of every iteration learns when they came from their senders' word: a PUT is expected to take
    as long as that of the same object in an earlier iteration.
    """

    def __init__(self, bucket: str, client: Any = None) -> None:
        self.bucket = bucket
        self._given_client = client
        self._put_s: dict[str, float] = {}
        """By name of an inbox object without its iteration: seconds that its last PUT took."""

    @property
    def _client(self) -> Any:
        return self._given_client or shared_client()

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        options: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        name, begin = keys.of_every_iteration(key), time.monotonic()
        if (put_s := self._put_s.get(name)) is not None:
            options["Metadata"] = {THERE_AT: f"{time.time() + put_s:.6f}"}
        for attempt in range(1, _CONFLICT_TRIES + 1):
            payload = _Window(body.cast("B")) if isinstance(body, memoryview) else body
            try:
                with _told_apart():
                    self._client.put_object(Bucket=self.bucket, Key=key, Body=payload, **options)
                if name != key:
                    self._put_s[name] = time.monotonic() - begin
                return True
            except ClientError as error:
                if if_absent and _code(error) == "PreconditionFailed":
                    return False
                # 409: another conditional write of this key is under way; whether it succeeds shows when asked again.
                if not (if_absent and _code(error) == "ConditionalRequestConflict") or attempt == _CONFLICT_TRIES:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        end = None if within_s is None else time.monotonic() + within_s
        try:
            with _told_apart():
                answer = self._client.get_object(Bucket=self.bucket, Key=key)
                if found is not None:
                    found(_there_at(answer))
                with answer["Body"] as body:
                    return self._read(key, body, answer["ContentLength"], end)
        except ClientError as error:
            if _code(error) in ("NoSuchKey", "404"):
                raise KeyNotFound(key) from None
            raise

    @staticmethod
    def _read(key: str, body: Any, size: int, end: float | None) -> bytearray:
        """The body in memory of its own: read in chunks that stay in the processor's cache, not joined from them."""
        data, at = bytearray(size), 0
        view = memoryview(data)
        while at < size:
            if end is not None and time.monotonic() > end:
                raise StoreUnavailable(f"GET {key}: {at} of {size} bytes have come in time")
            if not (chunk := body.read(min(_CHUNK_BYTES, size - at))):
                raise TransientError(f"GET {key}: the connection ended after {at} of {size} bytes")
            view[at : at + len(chunk)] = chunk
            at += len(chunk)
        return data

    def delete(self, key: str) -> None:
        with _told_apart():
            self._client.delete_object(Bucket=self.bucket, Key=key)

    def held(self, prefix: str) -> Iterator[Held]:
        with _told_apart():
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    yield Held(item["Key"], item["Size"], item["LastModified"].timestamp())
