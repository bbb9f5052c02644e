"""Closing a stack's functions to every invocation, whoever asks for it, and opening them again."""

from collections.abc import Sequence
from typing import Any

from launch.deployment import StageFunction
from launch.session import aws_errors, client
from runtime.manifest import Manifest


def close_functions(functions: Sequence[StageFunction], *, lambda_client: Any = None) -> None:
    """Sets the functions' reserved concurrency to 0: Lambda starts none of them any more, whoever asks.

    Invocations under way are not ended by that; their attempt's outcome ends them, or the functions' timeout.
    (docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html, read 2026-11-24)

    Raises:
        FuncpipeError: AWS cannot be asked, or refuses.
    """
    _reserve({function.name: 0 for function in functions}, lambda_client)


def open_functions(functions: Sequence[StageFunction], manifest: Manifest, *, lambda_client: Any = None) -> bool:
    """Gives functions that ``close_functions`` has closed their stage's concurrency back; whether there were any.

    Raises:
        FuncpipeError: AWS cannot be asked, or refuses.
    """
    with aws_errors():
        aws = lambda_client or client("lambda")
        closed = [
            function
            for function in functions
            if aws.get_function_concurrency(FunctionName=function.name).get("ReservedConcurrentExecutions") == 0
        ]
    _reserve({function.name: manifest.stages[function.stage].replicas for function in closed}, lambda_client)
    return bool(closed)


def _reserve(concurrency: dict[str, int], lambda_client: Any) -> None:
    with aws_errors():
        aws = lambda_client or client("lambda")
        for name, executions in concurrency.items():
            aws.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=executions)
