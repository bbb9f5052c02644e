"""The name of every stored object, in one place.

Inbox of a stage (one bucket each; only the stage itself reads and deletes there):
    RUN/SEGMENT/ATTEMPT/activation/ITERATION/MICROBATCH       from the stage before
    RUN/SEGMENT/ATTEMPT/gradient/ITERATION/MICROBATCH         from the stage after
    RUN/SEGMENT/ATTEMPT/split/ITERATION/BUCKET/OWNER/SENDER/PIECE    from a replica of the stage itself
    RUN/SEGMENT/ATTEMPT/merged/ITERATION/BUCKET/OWNER/PIECE          from a replica of the stage itself
    RUN/SEGMENT/ATTEMPT/whole/ITERATION/BUCKET/SENDER                from a replica of the stage itself

Activations and gradients above pacing.RANGE_BYTES go on in MICROBATCH.1, MICROBATCH.2, ...

Artifact bucket:
    data/DIGEST/index.json, data/DIGEST/{train,test}-{input,target}-SHARD.safetensors
    runs/RUN/manifest.json
    runs/RUN/outcomes/SEGMENT-ATTEMPT.json                    committed or aborted, whoever comes first; the workflow
                                                              writes it too, which cannot pad numbers
    runs/RUN/outcomes/initial.json                            the commit that the run begins with
    runs/RUN/layers/SEGMENT/SHA256.safetensors                a layer's state, under the segment that wrote it first
    runs/RUN/stop.json                                        its owner wants the run to end after a checkpoint
    runs/RUN/segments/SEGMENT/ATTEMPT/claims/STAGE-REPLICA.json
    runs/RUN/segments/SEGMENT/ATTEMPT/ready/STAGE-REPLICA.json
    runs/RUN/segments/SEGMENT/ATTEMPT/{go,end}.json           by the gang's leader
    runs/RUN/segments/SEGMENT/ATTEMPT/{progress,summary,failure,timeline}/STAGE-REPLICA.json
"""

import re
from dataclasses import dataclass
from enum import StrEnum

OUTCOME_FORMAT = "runs/{}/outcomes/{}-{}.json"
"""Of run, segment and attempt, as both ``str.format`` and Step Functions' States.Format fill it in."""
INITIAL = "initial"
"""The commit, and the generation of layers' files, that a run begins with."""


@dataclass(frozen=True)
class GangKeys:
    """Names within one attempt at one segment of one run: a gang of workers."""

    run: str
    segment: int
    attempt: int

    @property
    def _inbox(self) -> str:
        return f"{self.run}/{self.segment:05d}/{self.attempt:03d}"

    @property
    def inbox_prefix(self) -> str:
        """Of all that the gang sends."""
        return f"{self._inbox}/"

    @property
    def _artifacts(self) -> str:
        return f"{segments_prefix(self.run)}{self.segment:05d}/{self.attempt:03d}"

    def activation(self, iteration: int, micro_batch: int) -> str:
        return f"{self._inbox}/activation/{iteration:08d}/{micro_batch:05d}"

    def gradient(self, iteration: int, micro_batch: int) -> str:
        return f"{self._inbox}/gradient/{iteration:08d}/{micro_batch:05d}"

    def split(self, iteration: int, bucket: int, owner: int, sender: int, piece: int = 0) -> str:
        return f"{self._inbox}/split/{iteration:08d}/{bucket:04d}/{owner:04d}/{sender:04d}/{piece:06d}"

    def merged(self, iteration: int, bucket: int, owner: int, piece: int = 0) -> str:
        return f"{self._inbox}/merged/{iteration:08d}/{bucket:04d}/{owner:04d}/{piece:06d}"

    def whole(self, iteration: int, bucket: int, sender: int) -> str:
        return f"{self._inbox}/whole/{iteration:08d}/{bucket:04d}/{sender:04d}"

    @property
    def outcome(self) -> str:
        return OUTCOME_FORMAT.format(self.run, self.segment, self.attempt)

    @property
    def generation(self) -> str:
        """Of the layers' files that an attempt at this segment writes."""
        return f"{self.segment:05d}"

    def claim(self, stage: int, replica: int) -> str:
        return f"{self._artifacts}/claims/{stage:03d}-{replica:04d}.json"

    def ready(self, stage: int, replica: int) -> str:
        return f"{self._artifacts}/ready/{stage:03d}-{replica:04d}.json"

    @property
    def go(self) -> str:
        return f"{self._artifacts}/go.json"

    @property
    def end(self) -> str:
        return f"{self._artifacts}/end.json"

    def progress(self, stage: int, replica: int) -> str:
        return f"{self._artifacts}/progress/{stage:03d}-{replica:04d}.json"

    def summary(self, stage: int, replica: int) -> str:
        return f"{self._artifacts}/summary/{stage:03d}-{replica:04d}.json"

    def failure(self, stage: int, replica: int) -> str:
        return f"{self._artifacts}/failure/{stage:03d}-{replica:04d}.json"

    def timeline(self, stage: int, replica: int) -> str:
        return f"{self._artifacts}/timeline/{stage:03d}-{replica:04d}.json"


def ranges(key: str, count: int) -> list[str]:
    """The objects that together are the one called ``key``."""
    return [key, *(f"{key}.{number}" for number in range(1, count))]


_ITERATION = re.compile(r"/\d{8}/")


def of_every_iteration(key: str) -> str:
    """The name of an inbox object without its iteration: the same in all of them."""
    return _ITERATION.sub("/", key, count=1)


def in_iteration(key: str, iteration: int) -> str:
    """The name of the same inbox object in another iteration."""
    return _ITERATION.sub(f"/{iteration:08d}/", key, count=1)


_SERIES = re.compile(r".*/(?:(?:activation|gradient)/\d{8}|(?:split|merged|whole)/\d{8}/\d{4})/")


def series(key: str) -> str:
    """What the names of inbox objects have in common that are sent one behind the other: activations of an iteration,
    gradients of one, parts of one bucket's sum; other names are a series of one."""
    match = _SERIES.match(key)
    return key if match is None else match[0]


def layers_prefix(run: str) -> str:
    return f"{run_prefix(run)}layers/"


def layer(run: str, name: str) -> str:
    """The layer's file that ``records.LayerName`` names."""
    return f"{layers_prefix(run)}{name}.safetensors"


def parse_layer(run: str, key: str) -> str:
    """The ``records.LayerName`` of a key that begins with ``layers_prefix(run)``."""
    return key.removeprefix(layers_prefix(run)).removesuffix(".safetensors")


def run_prefix(run: str) -> str:
    return f"runs/{run}/"


def segments_prefix(run: str) -> str:
    return f"{run_prefix(run)}segments/"


def segment_prefix(run: str, segment: int) -> str:
    """Where the records of all attempts at a segment are."""
    return f"{segments_prefix(run)}{segment:05d}/"


class RecordKind(StrEnum):
    """What a record of one worker says."""

    PROGRESS = "progress"
    SUMMARY = "summary"
    FAILURE = "failure"


@dataclass(frozen=True)
class RecordKey:
    """The name of one worker's record, taken apart."""

    segment: int
    attempt: int
    kind: RecordKind
    stage: int
    replica: int


_RECORD = re.compile(r"(\d{5})/(\d{3})/(progress|summary|failure)/(\d{3})-(\d{4})\.json")


_GANG = re.compile(r"(\d{5})/(\d{3})/.+")


def parse_gang(run: str, key: str) -> GangKeys | None:
    """The gang of ``run`` that the artifact ``key`` belongs to, or None when it belongs to none."""
    match = _GANG.fullmatch(key.removeprefix(segments_prefix(run)))
    return None if match is None else GangKeys(run, int(match[1]), int(match[2]))


def outcomes_prefix(run: str) -> str:
    return f"{run_prefix(run)}outcomes/"


_OUTCOME = re.compile(r"(\d+)-(\d+)\.json")


def parse_outcome(run: str, key: str) -> GangKeys | None:
    """The gang of ``run`` whose outcome ``key`` is, or None when it is none's."""
    match = _OUTCOME.fullmatch(key.removeprefix(outcomes_prefix(run)))
    return None if match is None else GangKeys(run, int(match[1]), int(match[2]))


def parse_record(run: str, key: str) -> RecordKey | None:
    """``key`` taken apart, or None when it names no progress, summary or failure of ``run``."""
    match = _RECORD.fullmatch(key.removeprefix(segments_prefix(run)))
    if match is None:
        return None
    segment, attempt, kind, stage, replica = match.groups()
    return RecordKey(int(segment), int(attempt), RecordKind(kind), int(stage), int(replica))


def manifest(run: str) -> str:
    return f"{run_prefix(run)}manifest.json"


def commit(run: str, name: str) -> str:
    """The commit that ``records.CommitName`` names."""
    return f"{outcomes_prefix(run)}{name}.json"


def stop(run: str) -> str:
    return f"{run_prefix(run)}stop.json"


def data_prefix(digest: str) -> str:
    """Of a data set's shards and their index."""
    return f"data/{digest}/"


def data_index(digest: str) -> str:
    return f"{data_prefix(digest)}index.json"


def data_shard(digest: str, split: str, field: str, shard: int) -> str:
    """``split`` is "train" or "test", ``field`` is "input" or "target"."""
    return f"{data_prefix(digest)}{split}-{field}-{shard:05d}.safetensors"
