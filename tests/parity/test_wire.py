"""Runs whose tensors travel as bfloat16: bytes halve, the outcome is no more than rounded, and digits are still read.

Bounds of what is rounded are those of ``runtime.codec`` and ``runtime.scatter_reduce.contribution``, tested there.
"""

import tomllib
from collections import Counter
from pathlib import Path

import pytest
import torch

from runtime.synchronisation import Algorithm
from tests.examples.modules import EXAMPLES
from tests.gangs import FixtureRun
from tests.parity.runs import CHARGPT, DIGITS, SGD, plan, run_plan, summed_by

BOTH = {"activations": "bfloat16", "gradients": "bfloat16"}


def _trained(root: Path, wire: dict[str, str]) -> FixtureRun:
    options = plan(CHARGPT, [2, 2, 1], [1, 2, 1], SGD, dtype="float32")
    return FixtureRun(
        root, source=CHARGPT.source, data=f"data:{CHARGPT.data}", data_args=CHARGPT.data_args, wire=wire, **options
    ).train()


def _uploaded(run: FixtureRun) -> Counter[str]:
    """Bytes sent, by kind of instruction."""
    sent: Counter[str] = Counter()
    for event in run.timeline:
        if event.lane == "upload":
            sent[event.instruction.rstrip("0123456789")] += event.bytes
    return sent


def test_each_kind_of_traffic_is_halved_by_its_own_key(tmp_path: Path) -> None:
    runs = {
        name: _trained(tmp_path / name, wire)
        for name, wire in {
            "native": {},
            "activations": {"activations": "bfloat16"},
            "gradients": {"gradients": "bfloat16"},
        }.items()
    }
    native, activations, gradients = (_uploaded(run) for run in runs.values())
    for kind in ("SF", "SB"):
        assert native[kind] / 2 < activations[kind] < 0.55 * native[kind]
        assert gradients[kind] == native[kind]
    assert native["R"] / 2 < gradients["R"] < 0.55 * native["R"]
    assert activations["R"] == native["R"]
    # The first loss is of the initial weights: sums over replicas come after it, activations before.
    assert runs["gradients"].losses[0] == runs["native"].losses[0]
    first = [run.losses[0] for run in (runs["activations"], runs["native"])]
    assert first[0] != first[1] and first[0] == pytest.approx(first[1], rel=2**-8)
    assert all(run.inbox_objects == [] for run in runs.values())


def test_all_ways_to_sum_give_the_same_bits_in_bfloat16(tmp_path: Path) -> None:
    options = {**plan(DIGITS, [3, 2], [2, 3], SGD, dtype="float32"), "wire": BOTH}
    first, *others = (
        run_plan(DIGITS, {**options, **summed_by(algorithm)}, tmp_path / algorithm)[0] for algorithm in Algorithm
    )
    for other in others:
        assert other.losses == first.losses
        assert all(torch.equal(tensor, other.weights[name]) for name, tensor in first.weights.items())


def test_digits_in_bfloat16_reach_their_accuracy(tmp_path: Path) -> None:
    job = tomllib.loads((EXAMPLES / "digits" / "job.toml").read_text())
    training = job["training"]
    run = FixtureRun(
        tmp_path,
        source=DIGITS.source,
        data="data:digits",
        model=f"model:{DIGITS.model}",
        model_args=job["model"]["args"],
        layers=[3, 2],
        replicas=[1, 2],
        wire=BOTH,
        **{name: training[name] for name in ("global_batch_size", "micro_batch_size", "epochs", "optimizer", "seed")},
    ).train()
    model = type(DIGITS)(**{**vars(DIGITS), "model_args": job["model"]["args"]}).build().eval()
    model.load_state_dict(run.weights)
    data = DIGITS.dataset()
    with torch.no_grad():
        accuracy = (model(data.test_inputs).argmax(1) == data.test_targets).double().mean().item()
    assert len(run.losses) == 144
    assert accuracy >= 0.95
