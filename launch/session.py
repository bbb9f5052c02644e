"""Connections to AWS, and what goes wrong with them in words.

Account, region and endpoint come from the environment, as with any AWS tool; the embedded AWS is an environment too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from runtime.errors import FuncpipeError, UserInputError

_CONNECT_TIMEOUT_S = 10
_ATTEMPTS = 4
"""Tries of one request, throttling and connection errors included."""
_QUICK_TIMEOUT_S = 4
_QUICK_ATTEMPTS = 2

_REFUSED_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)

_NO_BUCKET = "the run's bucket is not there. {}. Its stack may have been destroyed, or be in another account or region."
_EMBEDDED = "the embedded AWS by --local, or by `funcpipe local exec -- COMMAND`"


def client(service: str) -> Any:
    """A boto3 client for ``service``. Raises what ``aws_errors`` translates."""
    config = Config(connect_timeout=_CONNECT_TIMEOUT_S, retries={"mode": "standard", "total_max_attempts": _ATTEMPTS})
    return boto3.client(service, config=config)


def quick_client(service: str, *, region: str | None = None) -> Any:
    """As ``client``, for questions whose answer is not worth waiting for: it gives up after seconds."""
    retries = {"mode": "standard", "total_max_attempts": _QUICK_ATTEMPTS}
    config = Config(connect_timeout=_QUICK_TIMEOUT_S, read_timeout=_QUICK_TIMEOUT_S, retries=retries)
    return boto3.client(service, region_name=region, config=config)


def error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


@contextmanager
def aws_errors(no_bucket: str = _NO_BUCKET) -> Iterator[None]:
    """Turns boto3's exceptions into FuncpipeError, or UserInputError when the set-up of AWS access is the cause.

    Args:
        no_bucket: what to say of a bucket that is not there; ``{}`` is AWS's own word.
    """
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise UserInputError(
            f"no AWS credentials: {error}. Configure them as for the AWS CLI, or use {_EMBEDDED}."
        ) from error
    except (NoRegionError, ProfileNotFound) as error:
        raise UserInputError(
            f"{str(error).rstrip('.')}. Set AWS_DEFAULT_REGION (or AWS_PROFILE), or use {_EMBEDDED}."
        ) from error
    except (EndpointConnectionError, ConnectTimeoutError) as error:
        raise FuncpipeError(
            f"{str(error).rstrip('.')}. Check the network and AWS_ENDPOINT_URL; for the embedded AWS see "
            "`funcpipe local status`."
        ) from error
    except ClientError as error:
        raise _translated(error, no_bucket) from error
    except BotoCoreError as error:
        raise FuncpipeError(f"AWS request failed: {error}") from error


def _translated(error: ClientError, no_bucket: str) -> FuncpipeError:
    code, said = error_code(error), error.response.get("Error", {}).get("Message", "")
    what = f"{error.operation_name}: {code}: {said}"
    if code in _REFUSED_CREDENTIALS:
        return UserInputError(f"AWS refused the credentials. {what}. Renew them, or choose others with AWS_PROFILE.")
    if code == "NoSuchBucket":
        return UserInputError(no_bucket.format(what))
    if code in ("AccessDenied", "AccessDeniedException"):
        return FuncpipeError(f"AWS denied the request. {what}. The caller's IAM policy must allow it.")
    return FuncpipeError(f"AWS request failed. {what}")
