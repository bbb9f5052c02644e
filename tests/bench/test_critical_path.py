import pytest

from bench.critical_path import Rates, critical_path_s
from runtime.schedule import Op
from runtime.synchronisation import Algorithm, Exchange
from tests.manifests import make_manifest

COMPUTE = {Op.FORWARD: 1.0, Op.BACKWARD: 2.0, Op.STEP: 0.5}
LATENCY = 0.25


def rates(stages, *, bandwidth=100.0, exchanges=None):
    """Every stage computes alike; every object is 50 bytes, half a second of a link at 100 bytes/s."""
    return Rates(
        compute_s={(stage, op): seconds for stage in range(stages) for op, seconds in COMPUTE.items()},
        object_bytes={(s, op): 50.0 for s in range(stages) for op in (Op.SEND_ACTIVATION, Op.SEND_GRADIENT)},
        bandwidth=bandwidth,
        latency_s=LATENCY,
        exchanges=exchanges or {},
    )


def plan(layers, replicas, micro_batches, **options):
    return make_manifest(
        layers=layers, replicas=replicas, global_batch_size=4 * micro_batches, micro_batch_size=4, **options
    )


def test_one_stage_only_computes():
    assert critical_path_s(plan([4], [1], 3), rates(1)) == pytest.approx(3 * (1.0 + 2.0) + 0.5)


def test_one_micro_batch_goes_there_and_back():
    """Forward, up and down, forward and backward, up and down, backward, step."""
    transfer = 2 * (LATENCY + 0.5)
    assert critical_path_s(plan([2, 2], [1, 1], 1), rates(2)) == pytest.approx(1 + transfer + 3 + transfer + 2 + 0.5)


def test_a_slow_link_sets_the_pace_and_latency_hides_behind_it():
    """4 micro-batches: links of 5 s an object in either direction are busy without a break."""
    there = 1 + LATENCY + 4 * 5 + LATENCY + 5
    back = 1 + 2 + LATENCY + 5 + LATENCY + 4 * 5  # the last forward lets the first gradient go; then one every 5 s
    assert critical_path_s(plan([2, 2], [1, 1], 4), rates(2, bandwidth=10.0)) == pytest.approx(there + back + 2 + 0.5)


@pytest.mark.parametrize("buckets", [1, 2])
def test_buckets_are_summed_while_backward_goes_on(buckets):
    """One micro-batch per replica: backward ends at 3 s, the first of two buckets is final at 2 s."""
    exchange = Exchange(
        gradient_bytes=400, replicas=2, bandwidth=100.0, latency_s=0.0, piece_bytes=10**6, bucket_bytes=400 // buckets
    )
    manifest = plan([4], [2], 2, synchronisation="plain")
    each = exchange.one_bucket.seconds(Algorithm.PLAIN)
    expected = 3 + each if buckets == 1 else max(3, 2 + each) + each
    assert critical_path_s(manifest, rates(1, exchanges={0: exchange})) == pytest.approx(expected + 0.5)
