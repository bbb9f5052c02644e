"""What ours are beside FuncPipe's plans: faster, cheaper, or worse; and a case's verdict.

A case's figures are those beside FuncPipe's balanced plan: of its plans the one of the least product of time and cost.
A case counts as lost where beside any of FuncPipe's plans ours is worse.

Ours are of three spaces, each a part of the next (``Space``), as not all that a planner may choose leaves the training
as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from planner.baselines import Impossible, Planned

FASTER, CHEAPER = 1.3, 0.75
"""A case is won by so many times the speed at no more cost, or by such a part of the cost at no more time."""


class Space(StrEnum):
    """What ours may choose besides cuts, memory sizes, replicas, recomputation, summation and schedule."""

    EXACT = "exact"
    """Nothing: the training is FuncPipe's, bit for bit."""
    WIRE = "wire"
    """Also what travels as bfloat16: half as many bytes, each number rounded."""
    FULL = "full"
    """Also arm64: the price of a second is a fifth less, and layers are taken to run as fast."""


PREFIXES = {Space.EXACT: "exact_", Space.WIRE: "wire_", Space.FULL: ""}
"""Prefixes of figures: a case is judged by the full space."""


@dataclass(frozen=True)
class Beside:
    """Ours beside one plan of FuncPipe's."""

    theirs: Planned
    fastest: Planned | None
    """Of ours that cost no more; None: each costs more."""
    cheapest: Planned | None
    """Of ours that take no longer."""
    worse: float
    """The least over ours of time or cost over theirs, whichever is more."""

    @property
    def lost(self) -> bool:
        """Whether none of ours is as fast for no more; both figures then are of the one that comes nearest."""
        return self.worse > 1

    @property
    def speedup(self) -> float:
        if self.lost or self.fastest is None:
            return 1 / self.worse
        return self.theirs.iteration_s / self.fastest.iteration_s

    @property
    def cost_ratio(self) -> float:
        if self.lost or self.cheapest is None:
            return self.worse
        return self.cheapest.iteration_usd / self.theirs.iteration_usd

    @property
    def won(self) -> bool:
        return self.speedup >= FASTER or self.cost_ratio <= CHEAPER


def beside(theirs: Planned, ours: Sequence[Planned]) -> Beside:
    """Picks of ours; there must be at least one."""
    affordable = [way for way in ours if way.iteration_usd <= theirs.iteration_usd]
    in_time = [way for way in ours if way.iteration_s <= theirs.iteration_s]
    return Beside(
        theirs,
        min(affordable, key=lambda way: (way.iteration_s, way.iteration_usd), default=None),
        min(in_time, key=lambda way: (way.iteration_usd, way.iteration_s), default=None),
        min(max(w.iteration_s / theirs.iteration_s, w.iteration_usd / theirs.iteration_usd) for w in ours),
    )


@dataclass(frozen=True)
class Case:
    """One model at one global batch size."""

    name: str
    published: Mapping[Space, tuple[Beside, ...]]
    """Beside each of FuncPipe's plans, those that differ, in the same order for each space."""
    baselines: tuple[Planned | Impossible, ...]
    tolerance: float
    """Proven of our frontiers, the worse one; infinite where nothing was."""

    def balanced(self, space: Space = Space.FULL) -> Beside:
        return min(self.published[space], key=lambda each: each.theirs.iteration_s * each.theirs.iteration_usd)

    def lost(self, space: Space = Space.FULL) -> bool:
        return any(each.lost for each in self.published[space])

    def won(self, space: Space = Space.FULL) -> bool:
        return self.balanced(space).won and not self.lost(space)

    def figures(self) -> dict[str, float]:
        """By name, of the report."""
        theirs = self.balanced().theirs
        found: dict[str, float] = {
            "published_plans": len(self.published[Space.FULL]),
            "gap": min(1.0, self.tolerance),
            "funcpipe_s": theirs.iteration_s,
            "funcpipe_usd": theirs.iteration_usd,
        }
        for space, prefix in PREFIXES.items():
            ours, every = self.balanced(space), self.published[space]
            found |= {
                f"{prefix}speedup": ours.speedup,
                f"{prefix}cost_ratio": ours.cost_ratio,
                f"{prefix}least_speedup": min(each.speedup for each in every),
                f"{prefix}published_plans_beaten": sum(each.won for each in every),
            }
            for name, way in (("fastest", ours.fastest), ("cheapest", ours.cheapest)):
                if way is not None:
                    found |= {
                        f"{prefix}ours_{name}_s": way.iteration_s,
                        f"{prefix}ours_{name}_usd": way.iteration_usd,
                    }
        for way in self.baselines:
            if isinstance(way, Planned) and way.name != "funcpipe":
                key = way.name.replace("-", "_").replace(".", "_")
                found |= {f"{key}_s": way.iteration_s, f"{key}_usd": way.iteration_usd}
        return {f"{self.name}_{name}": value for name, value in found.items()}

    def lines(self) -> Iterator[str]:
        """For people."""
        proven = f"proven within {self.tolerance:.0%}" if self.tolerance <= 1 else "frontiers not proven"
        told = []
        for space in Space:
            ours = self.balanced(space)
            won = "LOST beside one of the plans" if self.lost(space) else "won" if self.won(space) else "not won"
            told.append(f"{space.value} {ours.speedup:.2f} x as fast, or {ours.cost_ratio:.2f} x the cost: {won}")
        yield f"{self.name}: {'; '.join(told)}; {proven}"
        for at, one in enumerate(self.published[Space.FULL]):
            yield f" {'*' if one is self.balanced() else ' '}funcpipe  {_text(one.theirs)}"
            for space in Space:
                ours = self.published[space][at]
                yield f"    {space.value:5} fastest for no more: {_text(ours.fastest)}"
                yield f"    {space.value:5} cheapest as fast:    {_text(ours.cheapest)}"
        for way in self.baselines:
            if way.name != "funcpipe":
                yield f"  {way.name}: {f'impossible: {way.why}' if isinstance(way, Impossible) else _text(way)}"


def _text(way: Planned | None) -> str:
    return "none" if way is None else f"{way.iteration_s:.3g} s, {way.iteration_usd:.3g} USD: {way.what}"
