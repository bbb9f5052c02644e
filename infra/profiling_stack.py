"""A stack that lives while ``funcpipe profile --on aws`` measures: one function per memory size, and nothing else.

    python -m infra.profiling_stack -c stack=NAME -c source=FOLDER -c memory_mb=1024,1769 -c handler=MODULE.FUNCTION
        -c architecture=x86_64|arm64 -c packaging=image|zip -c requirements=JSON

is the CDK app that ``launch.profiling`` deploys; the context is its only input.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.acknowledgements import acknowledge_zip_function
from infra.log_group import FunctionLogGroup
from infra.packaging import Packaging, code_asset
from infra.stage_function import ARCHITECTURES
from runtime.errors import FuncpipeError, UserInputError
from runtime.limits import LAMBDA_MAX_TIMEOUT_S
from runtime.manifest import Architecture


class ProfilingStack(Stack):
    """Outputs ``Memory<MB>`` hold the functions' names.

    Args:
        source: the code that ships besides the runtime.
        handler: module and function that Lambda calls.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        source: Path,
        memory_mb: Sequence[int],
        handler: str,
        requirements: Sequence[str],
        architecture: Architecture,
        packaging: Packaging,
    ) -> None:
        super().__init__(scope, construct_id, description="Measures a model's layers; deleted when that is done")
        code = code_asset(
            self,
            source=source,
            requirements=requirements,
            architecture=architecture,
            packaging=packaging,
            handler=handler,
        )
        for size in memory_mb:
            place = Construct(self, f"Memory{size}")
            log_group = FunctionLogGroup(place, "Logs", retention=logs.RetentionDays.ONE_DAY)
            role = iam.Role(
                place,
                "Role",
                assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
                description=f"Measures with {size} MB",
                inline_policies={"Log": iam.PolicyDocument(statements=[log_group.write_statement])},
            )
            function = lambda_.Function(
                place,
                "Function",
                code=code.code,
                handler=code.handler,
                runtime=code.runtime,
                description=f"Measures layers with {size} MB",
                architecture=ARCHITECTURES[architecture],
                memory_size=size,
                timeout=Duration.seconds(LAMBDA_MAX_TIMEOUT_S),
                retry_attempts=0,
                role=role,
                log_group=log_group,
            )
            if packaging is Packaging.ZIP:
                acknowledge_zip_function(function)
            CfnOutput(self, f"Memory{size}Name", value=function.function_name)


def main() -> int:
    app = cdk.App()
    values = {
        key: str(app.node.get_context(key))
        for key in ("stack", "source", "memory_mb", "handler", "requirements", "architecture", "packaging")
    }
    try:
        ProfilingStack(
            app,
            values["stack"],
            source=Path(values["source"]),
            memory_mb=[int(size) for size in values["memory_mb"].split(",")],
            handler=values["handler"],
            requirements=json.loads(values["requirements"]),
            architecture=Architecture(values["architecture"]),
            packaging=Packaging(values["packaging"]),
        )
    except FuncpipeError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UserInputError) else 1
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
