"""What S3 and the network may answer, by botocore's stubber and by a socket; the contract runs on the embedded AWS."""

import io
import socket
import threading
from types import SimpleNamespace

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import Stubber

import runtime.store_s3
from runtime.keys import GangKeys
from runtime.store import KeyNotFound, StoreUnavailable, TransientError
from runtime.store_s3 import THERE_AT, S3Store


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


def told_at(store, stubber, metadata):
    """What a GET says of when the object came."""
    answer = {"Body": StreamingBody(io.BytesIO(b"1"), 1), "ContentLength": 1, "Metadata": metadata}
    told = []
    stubber.add_response("get_object", answer)
    store.get("k", found=told.append)
    return told[0]


def test_an_inbox_objects_sender_says_when_its_put_is_done_once_it_knows_how_long_that_takes(stubbed, monkeypatch):
    store, stubber = stubbed
    sent = []
    stubber.client.meta.events.register("before-parameter-build.s3.PutObject", lambda params, **_: sent.append(params))
    times = iter([100.0, 103.0, 200.0, 207.0, 300.0, 300.0])  # of each PUT, begin and end
    monkeypatch.setattr(runtime.store_s3, "time", SimpleNamespace(monotonic=lambda: next(times), time=lambda: 5_000.0))
    for iteration in range(3):
        stubber.add_response("put_object", {})
        store.put(GangKeys("run", 0, 0).activation(iteration, 2), b"1")
    assert "Metadata" not in sent[0]
    assert [float(params["Metadata"][THERE_AT]) for params in sent[1:]] == [5_003.0, 5_007.0]
    monkeypatch.undo()
    assert told_at(store, stubber, sent[1]["Metadata"]) == 5_003.0
    stubber.add_response("put_object", {})
    store.put("segments/00000/commit.json", b"1")
    assert "Metadata" not in sent[-1], "nobody awaits it in every iteration"


@pytest.mark.parametrize("said", [{}, {THERE_AT: "soon"}, {THERE_AT: "nan"}, {THERE_AT: "1e999"}, {THERE_AT: ""}])
def test_what_is_no_time_is_not_told(stubbed, said):
    assert told_at(*stubbed, said) is None


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
