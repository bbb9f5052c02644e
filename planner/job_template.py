"""What ``funcpipe init`` writes: a commented job, and a small model and data set that it trains as they are."""

JOB_TEMPLATE = """\
# A funcpipe job: what is trained, what a good plan is, and what it may use.
# Next: funcpipe plan job.toml, then funcpipe run manifest.json (here) or npx cdk deploy (on AWS).

name = "my-job"                     # a-z, 0-9 and -, begins with a letter; names the stack and the runs

[model]
factory = "model:build"             # module:function in package.source; returns an nn.Sequential
args = { width = 64 }               # keyword arguments of the factory

[data]
factory = "data:load"               # returns {"train": (inputs, targets), "test": (inputs, targets)}
args = { samples = 2048 }

[training]
loss = "cross_entropy"              # also mse, l1, binary_cross_entropy_with_logits, or your own "module:function"
global_batch_size = 128             # samples per optimiser step
micro_batch_size = 32               # samples that flow through the pipeline together; sets a worker's memory
epochs = 5                          # or: iterations = 200 (optimiser steps)
seed = 0
dtype = "float32"                   # or "float64"

[training.optimizer]
name = "adam"                       # sgd (momentum, dampening, nesterov), adam or adamw (betas, eps, amsgrad)
lr = 0.003
# weight_decay = 0.0

# [wire]                            # how tensors travel: "bfloat16" halves the bytes, and rounds (docs/method.md)
# activations = "native"            # between stages
# gradients = "native"              # between the replicas of a stage

# The plan minimises usd_weight * (USD per iteration) + time_weight * (seconds per iteration).
# With usd_weight = 1, time_weight is the price in USD at which you would buy one second less.
[objective]
usd_weight = 1.0
time_weight = 0.001

[limits]
min_stages = 1                      # 2 or more asks for a pipeline even where one function would do
max_stages = 8
min_workers = 1                     # a worker is one replica of one stage
max_replicas = 4                    # per stage
memory_mb = [1024, 1769, 3538, 7076, 10240]     # sizes that a stage may have; 1,769 MB is one vCPU
# synchronisation = ["piece_pipelined"]     # ways to sum gradients over replicas; by default the planner chooses
schedule = "auto"                   # order of forward and backward passes: or "gpipe", "1f1b", "eager_1f1b"
recompute = "auto"                  # true: keep only inputs for backward, and compute forward again; false: never
max_concurrency = 100               # workers that may run at once; your account's quota less what others use
# max_segment_iterations = 500      # a checkpoint at least so often; by default as rarely as 900 s per function allow

[run]
# budget_usd = 5.0                  # a run stops, with a checkpoint, before it would cost more
max_attempts = 3                    # gangs that may try one segment, where the cause of a failure may pass
checkpoints_kept = 2

[package]
source = "."                        # folder that ships with the model's code, relative to this file
requirements = []                   # pip requirements of that code, for example ["einops==0.8.1"]
architecture = "x86_64"             # or "arm64"
ephemeral_storage_mb = 512          # of each function's /tmp, for code that writes there; above 512 it costs
on_destroy = "retain"               # "delete": cdk destroy also deletes data, checkpoints, weights and reports

[evaluation]
metric = "accuracy"                 # on held-out data, in the report; or "none"
"""

MODEL_TEMPLATE = '''\
"""The model: an nn.Sequential, whose children are the layers that a plan may cut between."""

from torch import nn


def build(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 3),
    )
'''

DATA_TEMPLATE = '''\
"""The data: three interleaved spirals in the plane, one class each. Put your own here."""

import numpy


def _spirals(samples: int, seed: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    random = numpy.random.default_rng(seed)
    targets = random.integers(0, 3, samples)
    radius = random.uniform(0.1, 1.0, samples)
    angle = 4 * radius + targets * 2 * numpy.pi / 3 + random.normal(0, 0.1, samples)
    points = numpy.stack([radius * numpy.cos(angle), radius * numpy.sin(angle)], axis=1)
    return points.astype(numpy.float32), targets.astype(numpy.int64)


def load(samples: int) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
    return {"train": _spirals(samples, seed=1), "test": _spirals(samples // 4, seed=2)}
'''
