"""One pipeline stage as one Lambda function, invoked by an alias of its published version.

A deployment that changes the function's code or settings publishes a new version, moves the alias to it and deletes the
old one. Permissions, state machine and metrics name the alias, so none of them changes with a version; and what is
invoked is what was deployed, also where somebody has edited the function by hand.
"""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Size
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.access import tracing_statement
from infra.acknowledgements import acknowledge_zip_function
from infra.log_group import FunctionLogGroup
from infra.network import Network, interface_statements
from infra.packaging import StageCode
from runtime.manifest import Architecture, Stage

ARCHITECTURES = {
    Architecture.X86_64: lambda_.Architecture.X86_64,
    Architecture.ARM64: lambda_.Architecture.ARM_64,
}
_DESCRIPTION_CHARACTERS = 256
ALIAS = "deployed"
"""Of each stage's function: names of aliases are its own affair, so two stacks may have the same."""
_MAX_EVENT_AGE = Duration.minutes(1)
"""The least that Lambda takes (API_PutFunctionEventInvokeConfig, read 2026-11-24)."""


class StageFunction(Construct):
    """The function with its role, version and alias; its workers are concurrent invocations of the alias.

    Reserved concurrency is the number of replicas: the gang can count on its workers starting together, and a run
    started by mistake beside another cannot run up a bill. It takes from the account's quota, of which AWS keeps 100
    unreserved; an account whose quota is smaller must have it raised before it can deploy. It is the function's, so all
    its versions share it (docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html, read 2026-11-26).

    Args:
        index: position of the stage in the pipeline, from 0.
        timeout_s: seconds until Lambda ends a worker.
        log_group: where it writes; the group of all stages.
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
        log_group: FunctionLogGroup,
        environment: Mapping[str, str],
        access: Sequence[iam.PolicyStatement],
        tracing: bool = False,
        network: Network | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.log_group = log_group
        # Inline, since a policy of its own per stage would count against CloudFormation's 500 resources.
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"Workers of stage {index}",
            inline_policies={
                "Worker": iam.PolicyDocument(
                    statements=[
                        log_group.write_statement,
                        *access,
                        *([tracing_statement()] if tracing else []),
                        *(interface_statements(self) if network else []),
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
            architecture=ARCHITECTURES[architecture],
            memory_size=stage.memory_mb,
            ephemeral_storage_size=Size.mebibytes(stage.ephemeral_storage_mb),
            timeout=Duration.seconds(timeout_s),
            reserved_concurrent_executions=stage.replicas,
            role=self.role,
            log_group=log_group,
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
        self.alias = lambda_.Alias(
            self,
            "Alias",
            alias_name=ALIAS,
            version=self.function.current_version,
            description="What the workflow invokes",
            # The workflow invokes workers synchronously. Should somebody do otherwise: a worker belongs to its gang, so
            # running it again alone, or hours later when it is no longer throttled, could only disturb another gang.
            # An event that is dropped so is worth no failure destination.
            retry_attempts=0,
            max_event_age=_MAX_EVENT_AGE,
        )
        if code.runtime.name != lambda_.Runtime.FROM_IMAGE.name:
            acknowledge_zip_function(self.function)
