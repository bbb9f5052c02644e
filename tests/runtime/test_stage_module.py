import gc
import weakref
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from runtime.batches import MicroBatch
from runtime.codec import decode, encode, pack
from runtime.seeds import derive_seed
from runtime.stage_module import StageModule
from tests.fixtures.source import tiny

WHOLE = MicroBatch(index=0, epoch=0, start=0, size=12, weight=1.0)


def stages(model, cuts):
    """``model`` cut before each layer number of ``cuts``."""
    bounds = [0, *cuts, len(model)]
    return [
        StageModule(
            model[begin:end],
            first_layer=begin,
            seed=1,
            loss=cross_entropy if end == len(model) else None,
            is_first=begin == 0,
        )
        for begin, end in pairwise(bounds)
    ]


def through(parts, x, y):
    """One micro-batch through all stages and back, over the wire each time. Returns the loss."""
    bundle = pack(x)
    for part in parts:
        bundle = part.forward(0, WHOLE, decode(encode(bundle)), y)
    gradients = None
    for part in reversed(parts):
        gradients = part.backward(WHOLE, gradients)
        gradients = decode(encode(gradients))
    return bundle["loss"]


@pytest.mark.parametrize("cuts", [[], [1], [2, 3], [1, 2, 3, 4, 5, 6, 7]])
@pytest.mark.parametrize("build", [tiny.build, tiny.build_odd])
def test_gradients_equal_those_of_the_whole_model(build, cuts):
    x, y = tiny.data()["train"][0][:12].double(), tiny.data()["train"][1][:12]
    torch.manual_seed(0)
    reference = build().double()
    loss = cross_entropy(reference(x.clone()), y)
    loss.backward()
    torch.manual_seed(0)
    model = build().double()
    assert torch.allclose(through(stages(model, cuts), x.clone(), y), loss, rtol=1e-14, atol=0)
    for (name, expected), found in zip(reference.named_parameters(), model.parameters(), strict=True):
        assert (found.grad is None) == (expected.grad is None), name
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-12, atol=1e-15)


def test_dropout_is_seeded_by_layer_iteration_and_micro_batch():
    x = torch.ones(4, 100)
    part = StageModule(nn.Sequential(nn.Dropout(0.5)), first_layer=7, seed=1, loss=None, is_first=True)
    batch = MicroBatch(index=3, epoch=0, start=0, size=4, weight=1.0)
    found = part.forward(5, batch, pack(x), None)["x"]
    torch.manual_seed(derive_seed(1, "layer", 7, 5, 3))
    assert torch.equal(found, nn.functional.dropout(x, 0.5))


def test_a_seed_does_not_change_between_releases():
    assert derive_seed(7, "layer", 1, 2, 3) == 7243732718698779583


def test_the_graph_is_kept_only_until_backward():
    model = nn.Sequential(nn.Linear(4, 4))
    part = StageModule(model, first_layer=0, seed=0, loss=cross_entropy, is_first=True)
    part.forward(0, WHOLE, pack(torch.randn(12, 4)), torch.zeros(12, dtype=torch.long))
    part.backward(WHOLE, None)
    with pytest.raises(KeyError):
        part.backward(WHOLE, None)


class Ratchet(nn.Module):
    """Multiplies by a buffer that each pass changes and reads: computing a pass twice shows, and so does its order."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))
        self.register_buffer("last", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.factor.mul_(1.25)
        self.last = x.detach().mean(0) if self.last is None else self.last + x.detach().mean(0)
        return x * self.factor.clone() + self.last


class InPlace(nn.Module):
    """Writes into its input what shows when it is done twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(1.5)


def special() -> nn.Sequential:
    return nn.Sequential(
        InPlace(),
        nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)),
        nn.BatchNorm1d(8),
        nn.Dropout(0.3),
        Ratchet(),
        InPlace(),
        nn.Linear(8, 3),
    )


def trained(build, cut, recompute):
    """Two stages under 1F1B with a window of two on the first; losses, what was sent, gradients and buffers."""
    torch.manual_seed(0)
    model = build()
    first, last = (
        StageModule(
            part, first_layer=begin, seed=1, loss=cross_entropy if begin else None, is_first=not begin, recompute=again
        )
        for part, begin, again in zip((model[:cut], model[cut:]), (0, cut), recompute, strict=True)
    )
    inputs = torch.randn(4, 12, 8, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(12) % 3
    seen: list[torch.Tensor] = []
    batches = [MicroBatch(index=m, epoch=0, start=0, size=12, weight=0.25) for m in range(4)]
    crossing = {}

    def forward(m):
        crossing[m] = encode(first.forward(0, batches[m], pack(inputs[m].clone()), None))

    def rest(m):
        loss = last.forward(0, batches[m], decode(crossing[m]), targets)["loss"]
        returned = last.backward(batches[m], None)
        first.backward(batches[m], decode(encode(returned)))
        seen.extend(
            [loss.detach(), *(value for value in decode(crossing[m]).values() if isinstance(value, torch.Tensor))]
        )

    forward(0)
    for m in range(1, 4):
        forward(m)
        rest(m - 1)
    rest(3)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [*seen, *gradients, *model.buffers()]


@pytest.mark.parametrize("recompute", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("cut", [1, 3, 5])
@pytest.mark.parametrize(
    "build", [special, tiny.build, tiny.build_odd, tiny.build_batch_norm], ids=lambda b: b.__name__
)
def test_recomputation_changes_no_bit(build, cut, recompute):
    cut = min(cut, 3) if build is tiny.build_batch_norm else cut
    plain, again = trained(build, cut, (False, False)), trained(build, cut, recompute)
    assert len(plain) == len(again)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


@pytest.fixture
def no_garbage_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("recompute", [False, True])
def test_memory_goes_at_once(recompute, is_first, no_garbage_collection):
    """With recomputation after forward, else after backward: not when Python collects garbage."""
    alive: list[weakref.ref] = []

    class Watched(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = x * 2
            alive.append(weakref.ref(made))
            return made * made  # which keeps ``made`` for backward

    layers = nn.Sequential(nn.Linear(4, 4), Watched())
    part = StageModule(layers, first_layer=0, seed=0, loss=None, is_first=is_first, recompute=recompute)
    received = pack(torch.randn(12, 4))
    alive.append(weakref.ref(received["x"]))
    part.forward(0, WHOLE, received, None)
    del received
    assert (alive[1]() is None) is recompute
    part.backward(WHOLE, {"x": torch.randn(12, 4)})
    assert [reference() for reference in alive] == [None] * (3 if recompute else 2)
