"""What outlives a gang of workers: data shards, checkpoints, records, trained weights."""

from constructs import Construct

from infra.private_bucket import PrivateBucket
from runtime.manifest import OnDestroy


class ArtifactBucket(PrivateBucket):
    """Not versioned: every key carries run, segment and attempt, so only progress records are ever overwritten."""

    def __init__(self, scope: Construct, construct_id: str, *, on_destroy: OnDestroy) -> None:
        super().__init__(scope, construct_id, delete_with_stack=on_destroy is OnDestroy.DELETE)
