"""What workers fetch of the data set, beside the shards that are really written."""

from dataclasses import replace

import pytest
import torch

from planner.platforms import PLATFORMS
from planner.sample_loads import sample_loads
from runtime.dataset import Dataset
from runtime.shards import epoch_order, write_shards
from runtime.store_memory import MemoryStore
from tests.planner.profiles import make_layer, make_profile
from tests.planner.test_simulate import stage

PLATFORM = replace(PLATFORMS["local"], bandwidth_points=((0, 1e6),), get_latency_s=0.5)


def profile_of(samples: int, sample_bytes: int):
    """Micro-batches of 4; inputs have three times the bytes of targets."""
    made = make_profile([make_layer()])
    dataset = made.dataset.model_copy(update={"train_samples": samples})
    share = 4 * sample_bytes // 4
    return made.model_copy(
        update={"dataset": dataset, "micro_batch_size": 4, "input_bytes": 3 * share, "target_bytes": share}
    )


def test_a_small_data_set_comes_once():
    loads = sample_loads(profile_of(1_000, 400), PLATFORM, [stage(), stage(), stage()], seed=0)
    assert loads.first_s == pytest.approx((0.5 + 0.3, 0.0, 0.5 + 0.1)), "inputs first, targets last"
    assert loads.each_s == pytest.approx((1.2e-3, 0.0, 0.4e-3))
    assert loads.cached


def test_one_stage_fetches_inputs_and_targets():
    assert sample_loads(profile_of(1_000, 400), PLATFORM, [stage()], seed=0).first_s == pytest.approx((1.4,))


@pytest.mark.parametrize("seed", range(4))
def test_the_first_shard_is_the_one_that_workers_begin_with(seed):
    inputs, targets = torch.zeros(60_000, 75), torch.zeros(60_000, 25)
    index = write_shards(Dataset(inputs, targets, None, None, sha256="0" * 64), MemoryStore())
    begins = epoch_order(seed, 0, index.train)[0].item() // index.train[0]
    loads = sample_loads(profile_of(60_000, 400), PLATFORM, [stage(), stage()], seed)
    assert loads.first_s[0] == pytest.approx(0.5 + index.train[begins] * 300 / 1e6)
    assert not loads.cached and len(index.train) == 3
