"""A training by workers whose stores refuse what the synthesised policies do not allow."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aws_cdk import aws_kms as kms

import runtime.handler
from launch.staging import stage_run
from runtime import keys
from runtime.dataset import load_dataset
from runtime.manifest import Manifest
from runtime.records import Commit, WorkerEvent, parse_outcome
from runtime.source import source_sha256
from runtime.spec import DataSpec
from runtime.store import Data, Found, Held, KeyNotFound, Store
from runtime.store_directory import DirectoryStore
from tests.gangs import SOURCE
from tests.infra.synthesis import Synthesised, synthesise_training
from tests.manifests import make_manifest

REPLICAS = [1, 2, 1, 2]


class Denied(Exception):
    """As S3 answers: 403."""


class Guarded(Store):
    """A bucket as one role sees it. ``key_arn``: of the key that its objects are encrypted with, if there is one."""

    def __init__(self, store: Store, stack: Synthesised, role: str, bucket: str, key_arn: str | None) -> None:
        self._store, self._stack, self._role, self._bucket, self._key_arn = store, stack, role, bucket, key_arn

    def _check_key(self, action: str) -> None:
        if self._key_arn is not None and not self._stack.allows(self._role, action, self._key_arn):
            raise Denied(f"{self._role}: {action} on {self._key_arn}")

    def _check(self, action: str, key: str | None = None) -> None:
        arn = f"arn({self._bucket})" + ("" if key is None else f"/{key}")
        if not self._stack.allows(self._role, action, arn):
            raise Denied(f"{self._role}: {action} on {arn}")

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        self._check("s3:PutObject", key)
        self._check_key("kms:GenerateDataKey")
        return self._store.put(key, data, if_absent=if_absent)

    def get(self, key: str, *, within_s: float | None = None, found: Found | None = None) -> Data:
        self._check("s3:GetObject", key)
        try:
            data = self._store.get(key, within_s=within_s, found=found)
        except KeyNotFound:
            self._check("s3:ListBucket")  # without it S3 answers 403, not 404
            raise
        self._check_key("kms:Decrypt")
        return data

    def delete(self, key: str) -> None:
        self._check("s3:DeleteObject", key)
        self._store.delete(key)

    def held(self, prefix: str) -> Iterator[Held]:
        self._check("s3:ListBucket")
        return self._store.held(prefix)


def the_plan() -> Manifest:
    dataset = load_dataset(DataSpec(factory="tiny:data", args={}), SOURCE)
    return make_manifest(
        model="tiny:build",
        data="tiny:data",
        layers=[2, 1, 3, 2],
        replicas=REPLICAS,
        global_batch_size=16,
        micro_batch_size=4,
        iterations=4,
        segment_iterations=2,
        checkpoints_kept=1,
        optimizer={"name": "adam", "lr": 0.01},
        source_hash=source_sha256(SOURCE),
        dataset_sha256=dataset.sha256,
        train_samples=dataset.train_samples,
        test_samples=dataset.test_samples,
    )


class Account:
    """The stack's buckets as folders, and its functions as threads."""

    def __init__(self, folder: Path, manifest: Manifest, *, with_key: bool) -> None:
        self.manifest, self._folder = manifest, folder
        plan = {"stages": len(REPLICAS), "replicas": REPLICAS, "dataset_sha256": manifest.dataset.sha256}
        key = {"encryption_key": lambda stack: kms.Key(stack, "Key")} if with_key else {}
        self.stack = synthesise_training(folder / "p", plan=plan, **key)
        self._key_arn = next((f"arn({name})" for name in self.stack.resources("AWS::KMS::Key")), None)
        artifacts = self.stack.environment(self.stack.functions[0])["FUNCPIPE_ARTIFACTS_URL"]
        self.artifacts = DirectoryStore(folder / artifacts.removeprefix("s3://"))

    def invoke(self, event: WorkerEvent) -> None:
        function = self.stack.functions[event.stage]
        role = function["Role"]["Fn::GetAtt"][0]
        environment = self.stack.environment(function) | {"FUNCPIPE_SOURCE": str(SOURCE), "FUNCPIPE_THREADS": "1"}
        # Each URL says whose it is, since threads share the one function that opens stores.
        for name in ("FUNCPIPE_ARTIFACTS_URL", "FUNCPIPE_INBOX_URLS"):
            environment[name] = environment[name].replace("s3://", f"{role}@")
        deadline = time.monotonic() + 120
        runtime.handler.handle(
            event.model_dump(),
            environment,
            request_id="test",
            remaining_s=lambda: deadline - time.monotonic(),
            end_process=lambda failure: None,  # the tests' own
        )

    def open_store(self, url: str) -> Store:
        role, bucket = url.split("@")
        return Guarded(DirectoryStore(self._folder / bucket), self.stack, role, bucket, self._key_arn)


@pytest.mark.parametrize("with_key", [False, True])
def test_what_the_policies_allow_is_enough_to_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_key: bool
) -> None:
    manifest = the_plan()
    account = Account(tmp_path, manifest, with_key=with_key)
    assert with_key == (account._key_arn is not None)
    monkeypatch.setattr(runtime.handler, "open_store", account.open_store)
    stage_run(manifest, SOURCE, "run", account.artifacts)
    commit = keys.INITIAL
    for segment in range(manifest.segments):
        gang = [
            WorkerEvent(
                run="run",
                segment=segment,
                attempt=0,
                stage=stage,
                replica=replica,
                manifest_sha256=manifest.sha256,
                commit=commit,
            )
            for stage, replicas in enumerate(REPLICAS)
            for replica in range(replicas)
        ]
        with ThreadPoolExecutor(len(gang)) as threads:
            list(threads.map(account.invoke, gang))
        outcome = parse_outcome(account.artifacts.get(keys.GangKeys("run", segment, 0).outcome))
        assert isinstance(outcome, Commit), outcome
        commit = outcome.name
    assert outcome.iteration == manifest.iterations
    left = {keys.parse_layer("run", key) for key in account.artifacts.list(keys.layers_prefix("run"))}
    assert left == set(outcome.layers), "the leader was allowed to sweep"
    inboxes = [path for path in tmp_path.glob("Inbox*/**/*") if path.is_file()]
    assert inboxes == [], "what was sent was allowed to be deleted"


def test_the_guard_refuses_what_is_not_allowed(tmp_path: Path) -> None:
    """So that the test above can fail."""
    account = Account(tmp_path, the_plan(), with_key=True)
    role = account.stack.functions[0]["Role"]["Fn::GetAtt"][0]
    far = json.loads(account.stack.environment(account.stack.functions[2])["FUNCPIPE_INBOX_URLS"])["2"]
    store = account.open_store(far.replace("s3://", f"{role}@"))
    for request in (lambda: store.put("k", b""), lambda: store.get("k"), lambda: store.delete("k")):
        with pytest.raises(Denied):
            request()
    own = account.open_store(far.replace("s3://", f"{role}@"))
    own._key_arn = "arn(AnotherKey)"
    with pytest.raises(Denied, match="kms"):
        own._check_key("kms:Decrypt")
