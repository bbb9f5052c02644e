"""Hand-made and random profiles for the planner's tests."""

import random

from planner.job import Limits, Objective
from planner.layer_figures import LayerProfile, LossProfile
from planner.profile_format import Profile
from runtime.manifest import DatasetFacts
from runtime.spec import DataSpec, DType, LossName, ModelSpec, TrainingSpec
from runtime.synchronisation import Algorithm

MIB = 1 << 20


def make_training(**changes) -> TrainingSpec:
    values = {
        "loss": "cross_entropy",
        "optimizer": {"name": "sgd", "lr": 0.1},
        "global_batch_size": 64,
        "micro_batch_size": 8,
        "iterations": 10,
    }
    return TrainingSpec.model_validate({**values, **changes})


def make_layer(
    *, forward_s=0.1, backward_s=0.2, output_mib=1.0, activation_mib=2.0, parameter_mib=4.0, **changes
) -> LayerProfile:
    values = {
        "module": "Linear",
        "forward_s": [forward_s],
        "backward_s": [backward_s],
        "step_s": 0.001,
        "output_bytes": int(output_mib * MIB),
        "gradient_bytes": int(output_mib * MIB),
        "activation_bytes": int(activation_mib * MIB),
        "shared_input_bytes": 0,
        "output_kept": False,
        "parameter_bytes": int(parameter_mib * MIB),
        "trainable_parameter_bytes": int(parameter_mib * MIB),
        "buffer_bytes": 0,
    }
    return LayerProfile.model_validate({**values, **changes})


def make_profile(layers: list[LayerProfile], training: TrainingSpec | None = None, **changes) -> Profile:
    training = training or make_training()
    values = {
        "schema_version": 1,
        "model": ModelSpec(factory="model:build"),
        "data": DataSpec(factory="data:load"),
        "loss": LossName.CROSS_ENTROPY,
        "optimizer": training.optimizer,
        "dtype": DType.FLOAT32,
        "micro_batch_size": training.micro_batch_size,
        "source_sha256": "0" * 64,
        "dataset": DatasetFacts(train_samples=640, test_samples=64, sha256="1" * 64),
        "host": "test",
        "host_cores": 2,
        "threads": [1],
        "base_bytes": 200 * MIB,
        "builds_whole_model": False,
        "data_bytes": MIB,
        "input_bytes": MIB,
        "target_bytes": 64,
        "layers": layers,
        "loss_profile": LossProfile(seconds=[0.001], activation_bytes=1000),
    }
    return Profile.model_validate({**values, **changes})


def random_profile(generator: random.Random, layers: int, scale: float = 1.0) -> Profile:
    def one() -> LayerProfile:
        parameter = generator.choice([0, generator.uniform(0.1, 200 * scale)])
        return make_layer(
            forward_s=generator.uniform(0.001, 0.4),
            backward_s=generator.uniform(0.001, 0.8),
            output_mib=generator.uniform(0.1, 20),
            activation_mib=generator.uniform(0, 60 * scale),
            parameter_mib=parameter,
        )

    return make_profile([one() for _ in range(layers)])


def grown(profile: Profile, micro_batch_size: int) -> Profile:
    """For micro-batches of another size: times with a constant part, bytes in proportion."""
    share = micro_batch_size / profile.micro_batch_size

    def layer(one: LayerProfile) -> LayerProfile:
        times = {name: [s * (0.3 + 0.7 * share) for s in getattr(one, name)] for name in ("forward_s", "backward_s")}
        names = ("output_bytes", "gradient_bytes", "activation_bytes")
        return one.model_copy(update={**times, **{name: round(getattr(one, name) * share) for name in names}})

    return profile.model_copy(
        update={"micro_batch_size": micro_batch_size, "layers": [layer(one) for one in profile.layers]}
    )


def random_objective(generator: random.Random) -> Objective:
    return generator.choice(
        [
            Objective(usd_weight=1, time_weight=10 ** generator.uniform(-6, -2)),
            Objective(usd_weight=1, time_weight=0),
            Objective(usd_weight=0, time_weight=1),
        ]
    )


def random_limits(generator: random.Random) -> Limits:
    return Limits(
        memory_mb=sorted(generator.sample([512, 1024, 1769, 3538, 7076, 10240], 3)),
        max_replicas=generator.choice([1, 2, 3]),
        max_stages=generator.choice([3, 5]),
        min_stages=generator.choice([1, 1, 2]),
        min_workers=generator.choice([1, 1, 3]),
        max_concurrency=generator.choice([5, 100]),
        synchronisation=generator.sample(list(Algorithm), generator.choice([1, 1, 2])),
        recompute=generator.choice([False, False, True, "auto"]),
    )
