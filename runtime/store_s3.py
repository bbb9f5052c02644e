"""A store in an S3 bucket. Credentials, region and endpoint come from the environment, as in any AWS tool."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from runtime.store import Body, KeyNotFound, Store

_CONFLICT_TRIES = 5


@cache
def shared_client() -> Any:
    """The process's one S3 client, made when first needed; boto3 clients may be used by several threads."""
    config = Config(
        max_pool_connections=32,
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 5},
        tcp_keepalive=True,
        # S3 verifies the transfer anyway (TLS); a second checksum of every activation costs CPU time.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", config=config)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


class S3Store(Store):
    """One bucket. ``client`` is for tests; else the process's own."""

    def __init__(self, bucket: str, client: Any = None) -> None:
        self.bucket = bucket
        self._given_client = client

    @property
    def _client(self) -> Any:
        return self._given_client or shared_client()

    def put(self, key: str, body: Body, *, if_absent: bool = False) -> bool:
        payload = bytes(body) if isinstance(body, memoryview) else body
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        for attempt in range(1, _CONFLICT_TRIES + 1):
            try:
                self._client.put_object(Bucket=self.bucket, Key=key, Body=payload, **condition)
                return True
            except ClientError as error:
                if if_absent and _code(error) == "PreconditionFailed":
                    return False
                # 409: another conditional write of this key is under way; whether it succeeds shows when asked again.
                if not (if_absent and _code(error) == "ConditionalRequestConflict") or attempt == _CONFLICT_TRIES:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def get(self, key: str) -> bytes:
        try:
            body: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if _code(error) in ("NoSuchKey", "404"):
                raise KeyNotFound(key) from None
            raise
        return body

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self.bucket, Key=key)

    def list(self, prefix: str) -> Iterator[str]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            yield from (item["Key"] for item in page.get("Contents", []))
