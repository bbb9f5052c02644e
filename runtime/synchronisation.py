"""How a stage's replicas sum their gradients: the algorithms by name, and what each takes in seconds and requests.

``runtime.scatter_reduce`` carries them out, the planner chooses among them, ``bench`` holds the one against the other.
n replicas with gradients of s bytes each; every replica has a link of w bytes/s in each direction and requests of
latency t. The splits of a gradient are its n parts, one owned by each replica.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from runtime.pacing import IN_FLIGHT

_Figure = TypeVar("_Figure")


class Algorithm(StrEnum):
    """Ways to sum; all give the same bits."""

    PLAIN = "plain"
    """Three phases, one after the other (LambdaML, arXiv 2105.07806): splits up, splits down, sums up and down."""
    PIPELINED = "pipelined"
    """Uploads of others' splits beside downloads of one's own (FuncPipe, arXiv 2204.13561, section 3.3)."""
    PIECE_PIPELINED = "piece_pipelined"
    """Splits in pieces: a piece is summed and published while later ones are on their way."""
    ALL_TO_ALL = "all_to_all"
    """Everybody reads everybody's whole gradient: the fewest requests, for small gradients."""


SMALLEST_PIECE_BYTES = 1 << 16
"""Below, a request's own work (headers, system calls) outweighs what it carries."""


@dataclass(frozen=True)
class Exchange:
    """One summation of ``gradient_bytes`` over ``replicas`` replicas, on links of this kind.

    Args:
        bandwidth: bytes/s of a replica's link in each direction.
        latency_s: of a request, besides its transfer.
        gradient_bytes: on the wire; the planner asks for many at once, as an array of integers.
        widening: bytes of an element in memory over those on the wire.
        piece_bytes, bucket_bytes: as in ``runtime.manifest.StageSynchronisation``.
    """

    gradient_bytes: int
    replicas: int
    bandwidth: float
    latency_s: float
    piece_bytes: int
    bucket_bytes: int | None = None
    widening: int = 1

    @property
    def buckets(self) -> int:
        return bucket_count(self.gradient_bytes, self.bucket_bytes)

    @property
    def one_bucket(self) -> "Exchange":
        """The summation of one of the buckets."""
        return replace(self, gradient_bytes=-(-self.gradient_bytes // self.buckets), bucket_bytes=None)

    @property
    def bound_s(self) -> float:
        """No algorithm with splits is faster: each replica must receive 2s(n-1)/n bytes. s."""
        return 2 * self.gradient_bytes * (self.replicas - 1) / (self.replicas * self.bandwidth)

    @property
    def pieces(self) -> int:
        """Pieces of each split of a bucket."""
        return piece_count(self.one_bucket.gradient_bytes, self.replicas, self.piece_bytes)

    def seconds(self, algorithm: Algorithm) -> float:
        """Wall time when all replicas begin together, with all gradients at hand; 0 for one replica.

        The first two formulae are the published ones. The piece-pipelined one is the bound (or the time that so many
        requests need, IN_FLIGHT at a time), and at either end one piece and two latencies that nothing hides.
        """
        n, latency, whole = self.replicas, self.latency_s, self.gradient_bytes / self.bandwidth
        if n == 1:
            return 0.0
        if self.buckets > 1:
            return self.buckets * self.one_bucket.seconds(algorithm)
        match algorithm:
            case Algorithm.PLAIN:
                return 3 * whole - 2 * whole / n + 4 * latency
            case Algorithm.PIPELINED:
                return 2 * whole + (2 + n) * latency
            case Algorithm.PIECE_PIPELINED:
                piece = whole / n / self.pieces
                received = 2 * (n - 1) * self.pieces
                return received * larger(piece, (piece + latency) / IN_FLIGHT) + 2 * piece + 4 * latency
            case Algorithm.ALL_TO_ALL:
                return n * whole + (1 + -(-(n - 1) // IN_FLIGHT)) * latency

    def puts(self, algorithm: Algorithm) -> int:
        """Objects written by all replicas together."""
        n = self.replicas
        if n == 1:
            return 0
        if algorithm is Algorithm.ALL_TO_ALL:
            return n * self.buckets
        return n * n * self.buckets * (self.pieces if algorithm is Algorithm.PIECE_PIPELINED else 1)

    def gets(self, algorithm: Algorithm) -> int:
        """Objects read by all replicas together; GETs that find nothing yet are not in it."""
        exchanged = self.replicas * (self.replicas - 1)
        if algorithm is Algorithm.ALL_TO_ALL:
            return exchanged * self.buckets
        return 2 * exchanged * self.buckets * (self.pieces if algorithm is Algorithm.PIECE_PIPELINED else 1)

    def held_bytes(self, algorithm: Algorithm) -> int:
        """Memory of one replica besides the gradients themselves: the flat copy, and what is on its way.

        What is there as bytes is counted as wide as in memory.
        """
        if self.replicas == 1:
            return 0
        whole = self.gradient_bytes * self.widening
        match algorithm:
            case Algorithm.PLAIN | Algorithm.PIPELINED:
                return 2 * whole
            case Algorithm.PIECE_PIPELINED:  # each way as bytes and as tensors; the pieces that wait for their sum
                piece = -(-whole // (self.buckets * self.replicas * self.pieces))
                return whole + (4 * IN_FLIGHT + self.replicas - 1) * piece
            case Algorithm.ALL_TO_ALL:  # one's own twice, the others' until their turn to be added; bytes on their way
                return (2 + self.replicas - 1 + min(IN_FLIGHT, self.replicas - 1)) * whole


def larger(one: _Figure, other: _Figure) -> _Figure:
    """The larger of two numbers; of arrays element by element, to the bit."""
    return one * (one >= other) + other * (one < other)


def bucket_count(gradient_bytes: int, bucket_bytes: int | None) -> int:
    """Even parts of a stage's gradients, none larger than ``bucket_bytes``; at least 1."""
    return 1 if bucket_bytes is None else max(1, -(-gradient_bytes // bucket_bytes))


def piece_count(gradient_bytes: int, replicas: int, piece_bytes: int) -> int:
    """Pieces that every split is cut into, so that none is larger than ``piece_bytes``; at least 1."""
    return larger(1, -(-gradient_bytes // (replicas * piece_bytes)))


def best_piece_bytes(bandwidth: float, latency_s: float) -> int:
    """Bandwidth × latency: what a link carries while one request waits.

    With IN_FLIGHT requests the link is then busy three times over, and what the first and the last piece add is of the
    order of the latencies that are paid anyway.
    """
    return max(SMALLEST_PIECE_BYTES, round(bandwidth * latency_s))
