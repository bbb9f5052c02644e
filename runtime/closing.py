"""A segment's last steps: from the workers' summaries to the commit, and the files that it makes needless."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from runtime import keys
from runtime.errors import FuncpipeError
from runtime.outcome import aborted_by, commits_back, decide
from runtime.records import Commit, WorkerSummary
from runtime.store import Store, StoreUnavailable

_SWEEPERS = 4
DELETED_KEPT_S = 3 * 86_400
"""For so long the artifact bucket keeps, and bills, a version that was deleted or overwritten: a weekend, in which a
mistake can be undone (``infra.artifact_bucket``). Whole days, as S3's lifecycle rules count."""


def files_of(summaries: Iterable[WorkerSummary], layers: int, end: int) -> list[str]:
    """The file of each layer, in order, as the workers that saved them say.

    Raises:
        FuncpipeError: one of them did not end before iteration ``end``, or layers are missing.
    """
    files: dict[int, str] = {}
    for summary in summaries:
        if not summary.checkpoint:
            continue
        if summary.end_iteration != end:
            raise FuncpipeError(
                f"stage {summary.event.stage} ended at another iteration than its gang "
                f"(iteration: {summary.end_iteration}, the gang's: {end})"
            )
        files |= {int(index): name for index, name in summary.checkpoint.items()}
    if missing := sorted(set(range(layers)) - set(files)):
        raise FuncpipeError(f"no worker has saved layer {missing[0]} (saved: {len(files)}, layers: {layers})")
    return [files[index] for index in range(layers)]


def write_commit(artifacts: Store, gang: keys.GangKeys, commit: Commit) -> None:
    """Makes the checkpoint count. Raises GangAborted when the attempt was aborted before."""
    if (outcome := decide(artifacts, gang, commit)) != commit:
        raise aborted_by(outcome, "another invocation has committed the segment")


def sweep(artifacts: Store, run: str, newest: Commit, kept: int) -> None:
    """Deletes the layers' files that none of the ``kept`` newest commits names.

    Safe at any later time: what a later commit names is named by ``newest``, or was written by a later segment, and
    those segments' files are left alone. What storage does not delete now stays for the next sweep.
    """
    try:
        named: set[str] = set()
        for commit in islice(commits_back(artifacts, run, newest), kept):
            named.update(commit.layers)
        files = [keys.parse_layer(run, key) for key in artifacts.list(keys.layers_prefix(run))]
        needless = [file for file in files if file not in named and _segment_of(file) < newest.number]
        with ThreadPoolExecutor(_SWEEPERS, "sweep") as sweepers:
            list(sweepers.map(lambda file: artifacts.delete(keys.layer(run, file)), needless))
    except StoreUnavailable:
        return


def _segment_of(file: str) -> int:
    generation = file.partition("/")[0]
    return -1 if generation == keys.INITIAL else int(generation)
