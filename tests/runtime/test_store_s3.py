"""What S3 and the network may answer, by botocore's stubber and by a socket; the contract runs on the embedded AWS."""

import io
import socket
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from runtime.store import KeyNotFound, StoreUnavailable, TransientError
from runtime.store_s3 import S3Store


def client(endpoint="http://127.0.0.1:9"):
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=5, proxies={}),
    )


@pytest.fixture
def stubbed():
    s3 = client()
    with Stubber(s3) as stubber:
        yield S3Store("bucket", s3), stubber


@pytest.mark.parametrize(
    ("code", "status"),
    [("InternalError", 500), ("SlowDown", 503), ("ServiceUnavailable", 503), ("x", 429), ("RequestTimeout", 400)],
)
def test_what_may_pass_is_told_apart(stubbed, code, status):
    store, stubber = stubbed
    for operation in ("put_object", "get_object", "delete_object", "list_objects_v2"):
        stubber.add_client_error(operation, code, http_status_code=status)
    for request in (
        lambda: store.put("k", b""),
        lambda: store.get("k"),
        lambda: store.delete("k"),
        lambda: list(store.list("")),
    ):
        with pytest.raises(TransientError, match=code):
            request()


@pytest.mark.parametrize(("code", "status"), [("AccessDenied", 403), ("NoSuchBucket", 404), ("InvalidRequest", 400)])
def test_what_will_not_pass_is_left_as_it_is(stubbed, code, status):
    store, stubber = stubbed
    stubber.add_client_error("get_object", code, http_status_code=status)
    with pytest.raises(ClientError, match=code):
        store.get("k")


def test_an_absent_key_is_not_found(stubbed):
    store, stubber = stubbed
    stubber.add_client_error("get_object", "NoSuchKey", http_status_code=404)
    with pytest.raises(KeyNotFound):
        store.get("k")


def test_a_body_that_ends_early_is_no_object(stubbed):
    store, stubber = stubbed
    body = StreamingBody(io.BytesIO(b"123"), content_length=None)
    stubber.add_response("get_object", {"Body": body, "ContentLength": 10})
    with pytest.raises(TransientError, match="ended after 3 of 10 bytes"):
        store.get("k")


def test_what_has_not_come_in_time_is_given_up(stubbed):
    store, stubber = stubbed
    stubber.add_response("get_object", {"Body": StreamingBody(io.BytesIO(b"123"), 3), "ContentLength": 3})
    with pytest.raises(StoreUnavailable, match="0 of 3 bytes"):
        store.get("k", within_s=-1.0)


def test_nobody_listening_may_pass():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TransientError, match="EndpointConnectionError"):
            S3Store("bucket", client(endpoint)).get("k")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"])
def test_a_connection_that_breaks_may_pass(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with pytest.raises(TransientError):
                S3Store("bucket", client(f"http://127.0.0.1:{server.getsockname()[1]}")).get("k")
        finally:
            thread.join()
