"""One training plan as a construct: wiring and grants only; each component is a construct of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from aws_cdk import ArnFormat, RemovalPolicy, Stack, Tags
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra import acknowledgements
from infra.access import artifact_patterns, neighbours, starter_statements, worker_statements
from infra.artifact_bucket import ArtifactBucket
from infra.bucket_emptier import fit_bucket_emptier, narrow_bucket_policy
from infra.code_folder import SOURCE_FOLDER
from infra.log_group import FunctionLogGroup
from infra.monitoring import Monitoring, no_progress_s
from infra.network import network
from infra.packaging import Packaging, PrebuiltImage, stage_code
from infra.stage_function import StageFunction
from infra.sync_bucket import SyncBucket
from infra.workflow import Workflow
from runtime.errors import UserInputError
from runtime.log import LogLevel
from runtime.manifest import Architecture, Manifest, OnDestroy

JOB_TAG = "funcpipe:job"


class FuncPipeTraining(Construct):
    """Everything that training ``manifest`` needs, for any account and region. A stack may hold several.

    Args:
        manifest: the plan.
        source: the user's source folder, ``manifest.package.source`` beside the manifest.
        packaging: how the workers' code travels, or the image that has it.
        artifact_bucket: a bucket to use instead of one of its own. It stays whatever the stack's end, and
            ``encryption_key`` is not applied to it; its own key, if CDK knows it, is granted to the workers. Trainings
            that share a bucket share one list of run ids.
        inbox_buckets: one per stage to use instead of the construct's own, each of it alone. Their emptying, encryption
            and life cycle are their owner's; a key that CDK knows is granted to the workers.
        encryption_key: encrypts the buckets' objects with this key (SSE-KMS) instead of S3's own (SSE-S3). The key's
            policy must leave access to the account's IAM, as CDK's default does.
        permissions_boundary: set on every role.
        log_retention: of the workers' log group, which is deleted with the stack in any case.
        removal_policy: of the construct's own artifact bucket, DESTROY or RETAIN; by default what the manifest's
            ``on_destroy`` says.
        vpc: workers run in it; infra/network.py says what it must offer.
        vpc_subnets: of it; by default all its private ones.
        security_groups: of the workers; by default one that lets HTTPS out and nothing in.
        architecture: what the workers must run on. It is the plan's, whose times and prices depend on it: a plan for
            another is refused.
        log_level: of the workers' own log lines; DEBUG has one per iteration.
        monitoring: a dashboard, alarms and the workers' own metrics; infra/monitoring.py says what they cost.
        budget_usd: of a run, whose use by 80 % is an alarm; by default the plan's, which also stops the run.
        alarm_topic: is told of alarms; implies ``monitoring``.
        tracing: executions and workers are traced by X-Ray, which needs the one permission on all resources.
        tags: in addition to ``funcpipe:job``, on everything that can have tags.

    Attributes:
        artifacts: the artifact bucket.
        artifacts_stay: whether they outlive the stack.
        inboxes, stage_functions: one per stage, in order.
        log_group: of the workers of all stages.
        monitoring: None unless asked for.
        workflow: its ``state_machine`` runs the training; input of an execution: {"run": RUN}.

    Raises:
        UserInputError: the source is not the one planned for, the plan breaks a limit of a service, or properties do
            not fit it.
        FuncpipeError: the requirements could not be installed (zip only).
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        manifest: Manifest,
        source: Path,
        packaging: Packaging | PrebuiltImage = Packaging.IMAGE,
        artifact_bucket: s3.IBucket | None = None,
        inbox_buckets: Sequence[s3.IBucket] | None = None,
        encryption_key: kms.IKey | None = None,
        vpc: ec2.IVpc | None = None,
        vpc_subnets: ec2.SubnetSelection | None = None,
        security_groups: Sequence[ec2.ISecurityGroup] | None = None,
        architecture: Architecture | None = None,
        permissions_boundary: iam.IManagedPolicy | None = None,
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        removal_policy: RemovalPolicy | None = None,
        log_level: LogLevel = LogLevel.INFO,
        monitoring: bool = False,
        budget_usd: float | None = None,
        alarm_topic: sns.ITopic | None = None,
        tracing: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        _check_properties(manifest, architecture, inbox_buckets, vpc, vpc_subnets, security_groups)
        all_tags = {JOB_TAG: manifest.name, **(tags or {})}
        for key, value in all_tags.items():
            Tags.of(self).add(key, value)
        if permissions_boundary is not None:
            iam.PermissionsBoundary.of(self).apply(permissions_boundary)

        monitored = monitoring or alarm_topic is not None
        # Names are generated, so what tells this training's metrics from others' is its place in the app.
        name = f"{Stack.of(self).stack_name}/{self.node.path.removeprefix(f'{Stack.of(self).node.path}/')}"
        code = stage_code(self, manifest=manifest, source=source, packaging=packaging)
        delete_artifacts = (
            manifest.on_destroy is OnDestroy.DELETE
            if removal_policy is None
            else removal_policy is RemovalPolicy.DESTROY
        )
        own_artifacts = (
            None
            if artifact_bucket is not None
            else ArtifactBucket(self, "Artifacts", delete_with_stack=delete_artifacts, encryption_key=encryption_key)
        )
        self.artifacts: s3.IBucket = artifact_bucket or own_artifacts
        self.artifacts_stay = artifact_bucket is not None or not delete_artifacts
        stages = range(len(manifest.stages))
        own_inboxes = (
            []
            if inbox_buckets is not None
            else [SyncBucket(self, f"Inbox{index}", encryption_key=encryption_key) for index in stages]
        )
        self.inboxes: list[s3.IBucket] = [*(inbox_buckets or own_inboxes)]
        fit_bucket_emptier(self, tags=all_tags, log_retention=log_retention, permissions_boundary=permissions_boundary)
        for bucket in [*own_inboxes, *([own_artifacts] if own_artifacts else [])]:
            narrow_bucket_policy(bucket)
        place = network(self, vpc, vpc_subnets, security_groups) if vpc is not None else None

        self.log_group = FunctionLogGroup(self, "Logs", retention=log_retention)
        self.stage_functions: list[StageFunction] = []
        for index, stage in enumerate(manifest.stages):
            near = [index, *neighbours(index, len(stages))]
            stage_function = StageFunction(
                self,
                f"Stage{index}",
                index=index,
                stage=stage,
                code=code,
                architecture=manifest.architecture,
                timeout_s=manifest.segment.timeout_s,
                log_group=self.log_group,
                environment={
                    "FUNCPIPE_STAGE": str(index),
                    "FUNCPIPE_SOURCE": SOURCE_FOLDER,
                    "FUNCPIPE_LOG_LEVEL": log_level.value,
                    **({"FUNCPIPE_METRICS": name} if monitored else {}),
                    "FUNCPIPE_ARTIFACTS_URL": f"s3://{self.artifacts.bucket_name}",
                    "FUNCPIPE_INBOX_URLS": Stack.of(self).to_json_string(
                        {str(other): f"s3://{self.inboxes[other].bucket_name}" for other in sorted(near)}
                    ),
                },
                access=worker_statements(
                    stage=index,
                    stages=len(stages),
                    dataset_sha256=manifest.dataset.sha256,
                    own_inbox=self.inboxes[index],
                    neighbour_inboxes=[self.inboxes[other] for other in near[1:]],
                    artifacts=self.artifacts,
                ),
                tracing=tracing,
                network=place,
            )
            acknowledgements.acknowledge_stage_role(
                stage_function.role,
                inboxes=[self.inboxes[other] for other in near],
                artifacts=self.artifacts,
                patterns=artifact_patterns(index, len(stages), manifest.dataset.sha256),
                tracing=tracing,
                in_vpc=place is not None,
            )
            # Deleted before the buckets are emptied, so that no worker can refill them.
            stage_function.function.node.add_dependency(self.artifacts, *(self.inboxes[other] for other in near))
            self.stage_functions.append(stage_function)

        self.workflow = Workflow(
            self,
            "Workflow",
            manifest=manifest,
            functions=[stage.alias for stage in self.stage_functions],
            artifacts=self.artifacts,
            tracing=tracing,
        )
        acknowledgements.acknowledge_workflow(self.workflow, artifacts=self.artifacts, tracing=tracing)
        self.monitoring = (
            Monitoring(
                self,
                "Monitoring",
                training=name,
                stages=[(stage.function, stage.alias) for stage in self.stage_functions],
                state_machine=self.workflow.state_machine,
                no_progress_s=no_progress_s(manifest),
                budget_usd=manifest.spending.budget_usd if budget_usd is None else budget_usd,
                topic=alarm_topic,
            )
            if monitored
            else None
        )

    def grant_start(self, identity: iam.IGrantable) -> iam.Grant:
        """Allows ``identity`` all that the ``funcpipe`` command does with a run: start, watch, stop, report, export.

        It does not allow to deploy, to invoke a stage's function by itself, or to delete anything.
        """
        stack, machine = Stack.of(self), self.workflow.state_machine
        executions = stack.format_arn(
            service="states",
            resource="execution",
            resource_name=f"{machine.state_machine_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        statements = starter_statements(
            artifacts=self.artifacts,
            state_machine_arn=machine.state_machine_arn,
            executions_arn=executions,
            stack_arn=stack.stack_id,
            function_arns=[stage.function.function_arn for stage in self.stage_functions],
            log_group_arn=self.log_group.log_group_arn,
        )
        grants = [
            iam.Grant.add_to_principal(
                grantee=identity, actions=statement.actions, resource_arns=statement.resources, scope=self
            )
            for statement in statements
        ]
        combined = grants[0]
        for grant in grants[1:]:
            combined = combined.combine(grant)
        return combined


def _check_properties(
    manifest: Manifest,
    architecture: Architecture | None,
    inbox_buckets: Sequence[s3.IBucket] | None,
    vpc: ec2.IVpc | None,
    vpc_subnets: ec2.SubnetSelection | None,
    security_groups: Sequence[ec2.ISecurityGroup] | None,
) -> None:
    if architecture is not None and architecture is not manifest.architecture:
        raise UserInputError(
            f"the plan is for {manifest.architecture.value}, not for {architecture.value}. Plan again with "
            f'package.architecture = "{architecture.value}" in the job.'
        )
    if inbox_buckets is not None:
        different = {bucket.node.path for bucket in inbox_buckets}
        if not len(inbox_buckets) == len(different) == len(manifest.stages):
            raise UserInputError(
                f"each stage needs an inbox of its own (stages: {len(manifest.stages)}, inbox_buckets: "
                f"{len(inbox_buckets)}, different ones: {len(different)})."
            )
    if vpc is None and (vpc_subnets is not None or security_groups is not None):
        raise UserInputError("vpc_subnets and security_groups are those of workers in a VPC: give vpc, too.")
