"""What a run needs in its artifact store before workers start: manifest, data shards, initial layers, commit 0."""

import time
from collections.abc import Callable
from pathlib import Path

from torch import nn

from launch.resuming import OldRun, commit_to_resume, copied_commit
from runtime import keys
from runtime.checkpoint import save_layers
from runtime.dataset import load_dataset
from runtime.errors import UserInputError
from runtime.factories import build_model
from runtime.manifest import Manifest
from runtime.outcome import put_once
from runtime.records import Commit
from runtime.shards import write_shards
from runtime.source import check_source
from runtime.store import Store


def source_folder(manifest: Manifest, manifest_path: Path) -> Path:
    """Where the manifest's package lies.

    Raises:
        UserInputError: it is not there, or has changed since the plan was made.
    """
    folder = (manifest_path.parent / manifest.package.source).resolve()
    check_source(folder, manifest.hashes.source)
    return folder


def stage_run(
    manifest: Manifest,
    source: Path,
    run: str,
    artifacts: Store,
    resume: OldRun | None = None,
    tell: Callable[[str], object] = lambda text: None,
) -> None:
    """Claims the run id, then uploads all that the workers will read. Data that is there already is not sent again.

    Args:
        resume: begin with the state that this run ended with, rather than with the model's initial weights.
        tell: is told of commits of that run that are damaged, and passed over.

    Raises:
        UserInputError: the run id is taken, the data or the model is not what the plan was made for, or ``resume``
            cannot be gone on from.
        FuncpipeError: the checkpoint of ``resume`` is missing or damaged.
    """
    before = commit_to_resume(resume, manifest) if resume is not None else None
    dataset = load_dataset(manifest.data, source)
    if dataset.sha256 != manifest.dataset.sha256:
        raise UserInputError(
            f"data.factory = {manifest.data.factory!r} returns other data than when the plan was made (samples: "
            f"{dataset.train_samples}, planned: {manifest.dataset.train_samples}; SHA-256: {dataset.sha256}, "
            f"planned: {manifest.dataset.sha256}). Make the factory deterministic, or plan again with `funcpipe plan`."
        )
    training = manifest.training
    model = build_model(manifest.model, source, training.seed, training.dtype)
    if len(model) != manifest.layer_count:
        raise UserInputError(
            f"model.factory = {manifest.model.factory!r} returns {len(model)} layers, the plan has "
            f"{manifest.layer_count}. Plan again with `funcpipe plan`."
        )
    if not artifacts.put(keys.manifest(run), manifest.to_json().encode(), if_absent=True):
        raise UserInputError(f"the run id {run!r} is used already. Choose another with --run, or leave --run out.")
    write_shards(dataset, artifacts)
    if resume is not None and before is not None:
        commit = copied_commit(resume, before, artifacts, run, tell)
    else:
        commit = _initial_commit(model, artifacts, run)
    sizes = {held.key: held.bytes for held in artifacts.held(keys.layers_prefix(run))}
    commit = commit.model_copy(update={"layer_bytes": [sizes[keys.layer(run, name)] for name in commit.layers]})
    put_once(artifacts, keys.commit(run, keys.INITIAL), commit.model_dump_json().encode())


def _initial_commit(model: nn.Sequential, artifacts: Store, run: str) -> Commit:
    files = save_layers(artifacts, run, keys.INITIAL, model, 0, None)
    return Commit(
        number=0,
        base=None,
        iteration=0,
        layers=[files[index] for index in range(len(model))],
        reason=None,
        billed_s=0.0,
        spent_usd=0.0,
        at=time.time(),
    )
