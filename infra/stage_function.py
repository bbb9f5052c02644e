"""One pipeline stage as one Lambda function."""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Size
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.access import tracing_statement
from infra.acknowledgements import acknowledge_zip_function
from infra.log_group import FunctionLogGroup
from infra.network import Network, interface_statement
from infra.packaging import StageCode
from runtime.manifest import Architecture, Stage

_ARCHITECTURES = {
    Architecture.X86_64: lambda_.Architecture.X86_64,
    Architecture.ARM64: lambda_.Architecture.ARM_64,
}
_DESCRIPTION_CHARACTERS = 256
_MAX_EVENT_AGE = Duration.minutes(1)
"""The least that Lambda takes (API_PutFunctionEventInvokeConfig, read 2026-11-24)."""


class StageFunction(Construct):
    """The function with its role and log group; its workers are concurrent invocations of it.

    Reserved concurrency is the number of replicas: the gang can count on its workers starting together, and a run
    started by mistake beside another cannot run up a bill. It takes from the account's quota, of which AWS keeps 100
    unreserved; an account whose quota is smaller must have it raised before it can deploy.

    Args:
        index: position of the stage in the pipeline, from 0.
        timeout_s: seconds until Lambda ends a worker.
        access: what a worker may do besides writing its log.
        tracing: invocations are traced by X-Ray.
        network: where workers run; outside any VPC if None.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        index: int,
        stage: Stage,
        code: StageCode,
        architecture: Architecture,
        timeout_s: int,
        log_retention: logs.RetentionDays,
        environment: Mapping[str, str],
        access: Sequence[iam.PolicyStatement],
        tracing: bool = False,
        network: Network | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.log_group = FunctionLogGroup(self, "Logs", retention=log_retention)
        # Inline, since a policy of its own per stage would count against CloudFormation's 500 resources.
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Workers of stage {index}",
            inline_policies={
                "Worker": iam.PolicyDocument(
                    statements=[
                        self.log_group.write_statement,
                        *access,
                        *([tracing_statement()] if tracing else []),
                        *([interface_statement()] if network else []),
                    ]
                ),
            },
        )
        description = f"Stage {index}: {stage.layers_label} ({', '.join(stage.modules)})"
        self.function = lambda_.Function(
            self,
            "Function",
            code=code.code,
            handler=code.handler,
            runtime=code.runtime,
            description=description[:_DESCRIPTION_CHARACTERS],
            architecture=_ARCHITECTURES[architecture],
            memory_size=stage.memory_mb,
            ephemeral_storage_size=Size.mebibytes(stage.ephemeral_storage_mb),
            timeout=Duration.seconds(timeout_s),
            reserved_concurrent_executions=stage.replicas,
            # The workflow invokes workers synchronously. Should somebody do otherwise: a worker belongs to its gang, so
            # running it again alone, or hours later when it is no longer throttled, could only disturb another gang.
            # An event that is dropped so is worth no failure destination.
            retry_attempts=0,
            max_event_age=_MAX_EVENT_AGE,
            role=self.role,
            log_group=self.log_group,
            environment=dict(environment),
            vpc=network and network.vpc,
            vpc_subnets=network and network.subnets,
            security_groups=list(network.security_groups) if network else None,
        )
        if tracing:
            # Not by CDK's own property, which adds a policy of its own per stage.
            resource = self.function.node.default_child
            assert isinstance(resource, lambda_.CfnFunction)
            resource.tracing_config = lambda_.CfnFunction.TracingConfigProperty(mode="Active")
        if code.runtime.name != lambda_.Runtime.FROM_IMAGE.name:
            acknowledge_zip_function(self.function)
