"""What a run needs in its artifact store before workers start: manifest, data shards, initial layers, commit 0."""

from pathlib import Path

from runtime import keys
from runtime.checkpoint import save_layers, write_commit
from runtime.dataset import load_dataset
from runtime.errors import UserInputError
from runtime.factories import build_model
from runtime.manifest import Manifest
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


def stage_run(manifest: Manifest, source: Path, run: str, artifacts: Store) -> None:
    """Claims the run id, then uploads all that the workers will read. Data that is there already is not sent again.

    Raises:
        UserInputError: the run id is taken, or the data or the model is not what the plan was made for.
    """
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
    prefix = keys.initial_prefix(run)
    digests = save_layers(artifacts, prefix, model, 0, None)
    layers = [digests[index] for index in range(len(model))]
    write_commit(artifacts, run, Commit(number=0, iteration=0, prefix=prefix, layers=layers))
