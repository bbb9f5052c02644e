import http.client
import json
import threading
from collections.abc import Iterator

import pytest

from localaws.runtime_api import MAX_PAYLOAD_BYTES, Invocation, Outcome, RuntimeApi, error_outcome

PREFIX = "/2018-06-01/runtime/"


@pytest.fixture
def api() -> Iterator[RuntimeApi]:
    api = RuntimeApi()
    yield api
    api.close()


def request(
    api: RuntimeApi, method: str, path: str, body: bytes | Iterator[bytes] | None = None
) -> tuple[int, bytes, dict]:
    connection = http.client.HTTPConnection(api.address, timeout=60)
    connection.request(method, PREFIX + path, body, encode_chunked=False)
    response = connection.getresponse()
    answer = response.status, response.read(), dict(response.headers)
    connection.close()
    return answer


def event(request_id: str) -> Invocation:
    return Invocation(request_id, b'{"a": 1}', "arn:aws:lambda:us-east-1:000000000000:function:f", deadline=1234.5)


def test_an_event_and_its_answer(api: RuntimeApi) -> None:
    api.submit(event("one"))
    status, body, headers = request(api, "GET", "invocation/next")
    assert (status, body) == (200, b'{"a": 1}')
    assert headers["Lambda-Runtime-Aws-Request-Id"] == "one"
    assert headers["Lambda-Runtime-Deadline-Ms"] == "1234500"
    assert headers["Lambda-Runtime-Invoked-Function-Arn"].endswith("function:f")
    assert request(api, "POST", "invocation/one/response", b'"done"')[0] == 202
    assert api.await_outcome(60) == Outcome(b'"done"')


def test_an_error_is_an_answer(api: RuntimeApi) -> None:
    api.submit(event("one"))
    request(api, "POST", "invocation/one/error", b'{"errorType": "Oops"}')
    outcome = api.await_outcome(60)
    assert outcome is not None and outcome.failed and outcome.error_type == "Oops"


def test_is_ready_when_the_process_first_asks(api: RuntimeApi) -> None:
    assert not api.ready.is_set()
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(request(api, "GET", "invocation/next"))
        except (http.client.HTTPException, ConnectionError) as error:
            answers.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert api.ready.wait(60)
    assert api.init_error is None
    api.close()
    asking.join(60)
    assert len(answers) == 1 and isinstance(answers[0], Exception), "closing ends a waiting request"


def test_a_failed_init_makes_it_ready_with_an_error(api: RuntimeApi) -> None:
    assert request(api, "POST", "init/error", b'{"errorType": "Runtime.ImportModuleError"}')[0] == 202
    assert api.ready.is_set()
    assert api.init_error is not None and api.init_error.error_type == "Runtime.ImportModuleError"


def test_answers_to_other_invocations_are_dropped(api: RuntimeApi) -> None:
    assert not api.finish(Outcome(b"nobody asked"))
    api.submit(event("one"))
    assert api.await_outcome(0.01) is None, "the time is up"
    assert not api.finish(Outcome(b"late"), "one")
    api.submit(event("two"))
    assert not api.finish(Outcome(b"late"), "one")
    assert api.finish(Outcome(b"in time"), "two")
    assert not api.finish(Outcome(b"twice"), "two")
    assert api.await_outcome(60) == Outcome(b"in time")


def test_a_body_in_chunks(api: RuntimeApi) -> None:
    api.submit(event("one"))
    chunks = iter([b'5\r\n"abcd\r\n', b'2\r\ne"\r\n', b"0\r\n\r\n"])
    connection = http.client.HTTPConnection(api.address, timeout=60)
    connection.request("POST", f"{PREFIX}invocation/one/response", chunks, {"Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 202
    assert api.await_outcome(60) == Outcome(b'"abcde"')


def test_a_response_of_one_byte_too_many(api: RuntimeApi) -> None:
    for size, failed in ((MAX_PAYLOAD_BYTES, False), (MAX_PAYLOAD_BYTES + 1, True)):
        api.submit(event("one"))
        request(api, "POST", "invocation/one/response", b"x" * size)
        outcome = api.await_outcome(60)
        assert outcome is not None and outcome.failed is failed
    assert outcome.error_type == "Function.ResponseSizeTooLarge"


@pytest.mark.parametrize("method, path", [("GET", "nothing"), ("POST", "invocation/one"), ("POST", "restore/error")])
def test_other_paths_are_not_found(api: RuntimeApi, method: str, path: str) -> None:
    assert request(api, method, path, b"" if method == "POST" else None)[0] == 404


@pytest.mark.parametrize("body", [b"", b"text", b"[]", b"{}", b"null"])
def test_an_error_of_another_shape_is_unhandled(body: bytes) -> None:
    assert Outcome(body, failed=True).error_type == "Unhandled"


def test_error_outcome_is_what_lambda_returns() -> None:
    assert json.loads(error_outcome("A.B", "c").body) == {"errorType": "A.B", "errorMessage": "c"}
