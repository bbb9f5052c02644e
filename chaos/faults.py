"""Which faults there are, and what the emulator is to do for the one that a kind and a seed stand for."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from localaws.faults import Action, Rule
from runtime import keys
from runtime.barrier import LEADER
from runtime.batches import micro_batches
from runtime.manifest import Manifest

SHORT_S = 2.0
"""How long a slow worker is halted, and a delayed object is on its way."""
CLOCK_SHIFT_S = 3_600.0
EARLY_ITERATIONS = 6
"""A fault comes in one of the first so many iterations, of those that the first segment is planned to have."""


class Kind(StrEnum):
    """A kind of fault, by the words of the table in the docs."""

    KILL = "kill"
    HANG = "hang"
    EXCEPTION = "exception"
    LOST_PUT = "lost-put"
    DELAYED_PUT = "delayed-put"
    DUPLICATED_PUT = "duplicated-put"
    READ_ERROR = "read-error"
    THROTTLED_STORAGE = "throttled-storage"
    THROTTLED_START = "throttled-start"
    SLOW_WORKER = "slow-worker"
    CLOCK_AHEAD = "clock-ahead"
    CLOCK_BEHIND = "clock-behind"
    DUPLICATED_EVENT = "duplicated-event"
    ZOMBIE = "zombie"
    EMULATOR_RESTART = "emulator-restart"


WHAT = {
    Kind.KILL: "kill -9 of a worker, at one of its requests",
    Kind.HANG: "SIGSTOP of a worker, at one of its requests",
    Kind.EXCEPTION: "a request that is refused, which no retry helps",
    Kind.LOST_PUT: "an object that is acknowledged, and not there",
    Kind.DELAYED_PUT: f"an object that comes {SHORT_S:.0f} s after it was acknowledged",
    Kind.DUPLICATED_PUT: "30 % of all PUTs are done again a moment later",
    Kind.READ_ERROR: "10 % of all GETs answered by 500",
    Kind.THROTTLED_STORAGE: "8 % of all requests answered by 503 SlowDown",
    Kind.THROTTLED_START: "invocations that Lambda refuses twice",
    Kind.SLOW_WORKER: f"a worker that is halted for {SHORT_S:.0f} s",
    Kind.CLOCK_AHEAD: "a worker whose wall clock is an hour ahead",
    Kind.CLOCK_BEHIND: "a worker whose wall clock is an hour behind",
    Kind.DUPLICATED_EVENT: "an event given to two environments, either answer counts",
    Kind.ZOMBIE: "a killed worker whose last PUT comes when the next attempt has begun",
    Kind.EMULATOR_RESTART: "kill -9 of the emulator; stack deployed again, run resumed",
}


@dataclass(frozen=True)
class Moment:
    """A request that a worker makes once, or that the first worker to make it makes."""

    words: str
    key: str
    nth: int = 1


@dataclass(frozen=True)
class Fault:
    """One fault of one run."""

    kind: Kind
    seed: int

    @property
    def chance(self) -> random.Random:
        return random.Random(f"{self.kind}/{self.seed}")


def faults(kinds: tuple[Kind, ...], runs: int, seed: int) -> list[Fault]:
    """``runs`` faults, the kinds in turn, seeds counting on from ``seed``."""
    return [Fault(kinds[number % len(kinds)], seed + number) for number in range(runs)]


def possible(kind: Kind, manifest: Manifest) -> bool:
    """Whether a run of this plan can meet the fault: a lone worker sends nothing to another."""
    return manifest.workers > 1 or kind not in (Kind.LOST_PUT, Kind.DELAYED_PUT)


def rules(fault: Fault, manifest: Manifest, run: str, functions: Mapping[int, str]) -> list[Rule]:
    """What the emulator is to do in ``run``; nothing for a fault that is not its to make.

    Args:
        functions: names of the stages' functions.
    """
    chance = fault.chance
    # What happens at all moments is drawn first, so that it does not depend on the plan.
    answered, answer, seed = chance.random() < 0.5, chance.randrange(2), chance.getrandbits(32)
    function = f"*{functions[chance.randrange(len(functions))]}*"
    match fault.kind:
        case Kind.KILL:
            return [_at(chance.choice(moments(manifest, run, chance)), Action.KILL, answered=answered)]
        case Kind.HANG:
            return [_at(chance.choice(moments(manifest, run, chance)), Action.HALT, answered=answered)]
        case Kind.SLOW_WORKER:
            return [_at(chance.choice(moments(manifest, run, chance)), Action.HALT, seconds=SHORT_S)]
        case Kind.EXCEPTION:
            return [_at(chance.choice(moments(manifest, run, chance)), Action.REFUSE)]
        case Kind.LOST_PUT:
            return [_at(chance.choice(messages(manifest, run, chance)), Action.LOSE)]
        case Kind.DELAYED_PUT:
            return [_at(chance.choice(messages(manifest, run, chance)), Action.DELAY, seconds=SHORT_S)]
        case Kind.ZOMBIE:
            until = f"*/{_of_attempt(run, 1)}/claims/*"
            return [_at(chance.choice(last_words(manifest, run)), Action.ORPHAN, until=until)]
        case Kind.DUPLICATED_PUT:
            return [Rule(Action.DUPLICATE, "*", "PUT", share=0.3, seed=seed, seconds=0.3)]
        case Kind.READ_ERROR:
            return [Rule(Action.FAIL, "*", "GET", share=0.1, seed=seed)]
        case Kind.THROTTLED_STORAGE:
            return [Rule(Action.SLOW_DOWN, "*", share=0.08, seed=seed)]
        case Kind.THROTTLED_START:
            return [Rule(Action.THROTTLE, function, nth=1, times=2)]
        case Kind.DUPLICATED_EVENT:
            return [Rule(Action.TWICE, function, nth=1, answer=answer)]
        case Kind.CLOCK_AHEAD | Kind.CLOCK_BEHIND:
            shift = CLOCK_SHIFT_S if fault.kind is Kind.CLOCK_AHEAD else -CLOCK_SHIFT_S
            return [Rule(Action.SHIFT_CLOCK, function, nth=1, seconds=shift)]
        case Kind.EMULATOR_RESTART:
            return []


def _at(moment: Moment, action: Action, **how: object) -> Rule:
    return Rule(action, f"*/{moment.key}", "PUT", nth=moment.nth, **how)  # type: ignore[arg-type]


def moments(manifest: Manifest, run: str, chance: random.Random) -> list[Moment]:
    """One of each sort, in the run's first attempt: from a worker's first request to its last one."""
    gang = keys.GangKeys(run, 0, 0)
    place = chance.choice(list(manifest.places))
    begin = [Moment("claim", gang.claim(*place))]
    if place != LEADER:
        begin.append(Moment("ready", gang.ready(*place)))
    return [*begin, *_of_iterations(manifest, gang, chance), *last_words(manifest, run)]


def messages(manifest: Manifest, run: str, chance: random.Random) -> list[Moment]:
    """What one worker sends to another: without it, that one waits."""
    gang = keys.GangKeys(run, 0, 0)
    followers = [place for place in manifest.places if place != LEADER]
    sent = _of_iterations(manifest, gang, chance)
    return [Moment("ready", gang.ready(*chance.choice(followers))), *sent] if followers else sent


def _of_iterations(manifest: Manifest, gang: keys.GangKeys, chance: random.Random) -> list[Moment]:
    """An activation and a gradient; the stages' inboxes know them by the same names, in the order of arrival."""
    boundaries = len(manifest.stages) - 1
    if boundaries == 0:
        return []
    training = manifest.training
    iteration = chance.randrange(min(EARLY_ITERATIONS, manifest.iterations, manifest.segment.iterations))
    sizes = training.global_batch_size, training.micro_batch_size
    batch = chance.choice(micro_batches(iteration, manifest.dataset.train_samples, *sizes)).index
    nth = chance.randint(1, boundaries)
    return [
        Moment("activation", gang.activation(iteration, batch), nth),
        Moment("gradient", gang.gradient(iteration, batch), nth),
    ]


def last_words(manifest: Manifest, run: str) -> list[Moment]:
    """What a worker writes when its iterations are done: a layer's file, its summary, the commit."""
    gang = keys.GangKeys(run, 0, 0)
    return [
        Moment("layer", f"{keys.layers_prefix(run)}{gang.generation}/*"),
        Moment("summary", gang.summary(len(manifest.stages) - 1, 0)),
        Moment("commit", gang.outcome),
    ]


def _of_attempt(run: str, attempt: int) -> str:
    return keys.GangKeys(run, 0, attempt).claim(0, 0).rpartition("/claims/")[0]
