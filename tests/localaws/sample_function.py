"""A Lambda function that does what its event says. Runs in a function's process, not in the tests'."""

import os
import subprocess
import sys
import time
from pathlib import Path


def handler(event, context):
    return globals()[event["do"]](event, context)


def echo(event, context):
    print("echo", event["text"])
    return {"text": event["text"], "pid": os.getpid(), "request": context.aws_request_id}


def fail(event, context):
    raise ValueError("told to fail")


def leave(event, context):
    os._exit(event["status"])


def allocate(event, context):
    block = bytearray(event["mb"] << 20)
    block[::4096] = b"x" * len(block[::4096])
    return len(block)


def answer_with(event, context):
    return "x" * event["bytes"]


def environment(event, context):
    return dict(os.environ)


def now(event, context):
    return {"wall": time.time(), "pid": os.getpid()}


def meet(event, context):
    """Waits until as many environments as ``expected`` have arrived in a folder."""
    folder = Path(event["folder"])
    (folder / context.aws_request_id).touch()
    while len(list(folder.iterdir())) < event["expected"]:
        time.sleep(0.01)
    return os.getpid()


def hang(event, context):
    """With a child process, as a data loader would have."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    unfinished = Path(event["pids"] + ".unfinished")
    unfinished.write_text(f"{os.getpid()} {child.pid}")
    unfinished.rename(event["pids"])
    time.sleep(600)


def await_object(event, context):
    """Says that it is there by one object in S3 and waits for another, then fails or returns."""
    import boto3

    s3 = boto3.client("s3")
    s3.put_object(Bucket=event["bucket"], Key=event["arrived"])
    while not s3.list_objects_v2(Bucket=event["bucket"], Prefix=event["released"])["KeyCount"]:
        time.sleep(0.02)
    if event.get("fail"):
        raise ValueError("told to fail")
    return "released"
