"""A new run that goes on from an old one's last commit, under any plan of the same training (docs/protocol.md)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime import keys
from runtime.checkpoint import CheckpointError, copy_layers
from runtime.errors import UserInputError
from runtime.manifest import Manifest, parse_manifest
from runtime.outcome import commits_back, last_commit
from runtime.records import Commit
from runtime.store import KeyNotFound, Store


@dataclass(frozen=True)
class OldRun:
    """The run to go on from, and the store that it is in."""

    run: str
    store: Store


def _facts(manifest: Manifest) -> dict[str, Any]:
    """What must be the same for the new run to be the old one's continuation, by the job's names."""
    training = manifest.training
    return {
        "model.factory": manifest.model.factory,
        "model.args": manifest.model.args,
        "the data set's SHA-256": manifest.dataset.sha256,
        "training.global_batch_size": training.global_batch_size,
        "training.seed": training.seed,
        "training.dtype": training.dtype.value,
        "training.optimizer.name": training.optimizer.name,
        "the number of layers": manifest.layer_count,
    }


def commit_to_resume(old: OldRun, manifest: Manifest) -> Commit:
    """The last commit of ``old``, from which ``manifest`` can go on.

    Cuts, replicas, memory, micro-batches, schedule, learning rate and the number of iterations may differ.

    Raises:
        UserInputError: there is no such run, it trains something else, or has done all iterations.
        NoCommit: nothing of it is saved.
    """
    try:
        planned = parse_manifest(old.store.get(keys.manifest(old.run)), keys.manifest(old.run))
    except KeyNotFound:
        raise UserInputError(
            f"run {old.run!r} has no manifest in its artifact store, so nothing can be resumed."
        ) from None
    before, now = _facts(planned), _facts(manifest)
    for name in before:
        if before[name] != now[name]:
            raise UserInputError(
                f"run {old.run!r} cannot be resumed under this manifest: {name} differs (the run's: {before[name]}, "
                f"the manifest's: {now[name]}). Plan with the run's, or start anew without --resume."
            )
    commit = last_commit(old.store, old.run)
    if commit.iteration >= manifest.iterations:
        raise UserInputError(
            f"run {old.run!r} has {commit.iteration} iterations saved, and the manifest asks for "
            f"{manifest.iterations}, so nothing is left to do. For more, raise training.iterations or "
            "training.epochs and plan again."
        )
    return commit


def copied_commit(
    old: OldRun, commit: Commit, artifacts: Store, run: str, tell: Callable[[str], object] = lambda text: None
) -> Commit:
    """The commit that run ``run`` begins with: the old one's state, copied file by file, at the old one's iteration.

    Of a damaged commit nothing is used: then it is the one before it, as far back as files are kept.
    What the old run has cost is its own: the new one's budget begins at nothing.

    Args:
        tell: is told of a commit that is passed over, and why.

    Raises:
        CheckpointError: a file of each commit is missing or damaged; of the newest one, which.
    """
    newest: CheckpointError | None = None
    for candidate in commits_back(old.store, old.run, commit):
        try:
            layers = copy_layers(old.store, old.run, candidate, artifacts, run)
        except CheckpointError as error:
            newest = newest or error
            what = f"commit {candidate.name} of run {old.run}, of {candidate.iteration} iterations,"
            tell(f"{what} is passed over: {error}")
            continue
        return Commit(
            number=0,
            base=None,
            iteration=candidate.iteration,
            layers=layers,
            reason=None,
            billed_s=0.0,
            spent_usd=0.0,
            resumed_from=old.run,
            at=time.time(),
        )
    assert newest is not None, "there is at least the commit itself"
    raise newest
