import pytest
import torch
from torch import nn

from runtime import keys
from runtime.checkpoint import CheckpointError, Diverged, load_layers, load_tensors, load_weights, save_layers
from runtime.keys import GangKeys
from runtime.outcome import decide
from runtime.records import Commit, EndReason
from runtime.store_directory import DirectoryStore

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, amsgrad=True),
    "adamw": torch.optim.AdamW,
}


def model():
    layers = {"conv": nn.Conv2d(1, 2, 3), "norm": nn.BatchNorm2d(2), "act": nn.ReLU(), "out": nn.Linear(8, 3)}
    whole = nn.Sequential()
    for name, layer in layers.items():
        whole.add_module(name, layer)
        if name == "norm":
            whole.add_module("flat", nn.Flatten())
    return whole


def step(net, optimizer, seed):
    x = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    net(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def commit_of(files, number=1, base=keys.INITIAL):
    return Commit(
        number=number,
        base=base,
        iteration=3 * number,
        layers=[files[index] for index in sorted(files)],
        reason=EndReason.TIME,
        billed_s=1.0,
        spent_usd=0.1,
        at=0.0,
    )


def save(store, net, optimizer, number=1, before=()):
    """The commit of segment ``number`` - 1, whose two stages have two and the remaining layers."""
    generation = GangKeys("r", number - 1, 0).generation
    files = save_layers(store, "r", generation, net[:2], 0, optimizer, before=before)
    files |= save_layers(store, "r", generation, net[2:], 2, optimizer, before=before)
    commit = commit_of(files, number, f"{number - 2}-0" if number > 1 else keys.INITIAL)
    assert decide(store, GangKeys("r", number - 1, 0), commit) == commit
    return commit


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_goes_on_as_if_nothing_had_been(tmp_path, kind):
    store = DirectoryStore(tmp_path)
    torch.manual_seed(0)
    net = model()
    optimizer = OPTIMIZERS[kind](net.parameters())
    for seed in range(3):
        step(net, optimizer, seed)
    commit = save(store, net, optimizer)
    other = model()
    restored = OPTIMIZERS[kind](other.parameters())
    load_layers(store, "r", commit, other[:3], 0, restored)
    load_layers(store, "r", commit, other[3:], 3, restored)
    for seed in range(3, 5):
        step(net, optimizer, seed)
        step(other, restored, seed)
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_weights_are_exported_under_the_names_of_the_state_dict(tmp_path):
    store, net = DirectoryStore(tmp_path), model()
    save(store, net, None)
    weights = load_weights(store, "r")
    assert set(weights) == set(net.state_dict())
    assert all(torch.equal(weights[name], value) for name, value in net.state_dict().items())


class Holding(nn.Module):
    """One parameter under two names, and buffers in and out of the state_dict, also of a module inside."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("positions", torch.arange(4), persistent=False)
        self.a.register_buffer("scale", torch.full((2,), 0.5), persistent=False)


def test_buffers_outside_the_state_dict_are_kept_but_not_exported(tmp_path):
    store, net = DirectoryStore(tmp_path), nn.Sequential(Holding(), Holding())
    net[1].positions += 7
    net[1].a.scale += 1
    commit = save(store, net, None)
    weights = load_weights(store, "r")
    nn.Sequential(Holding(), Holding()).load_state_dict(weights, strict=True)
    assert set(load_tensors(store, "r")) - set(weights) == {
        f"{layer}.{name}" for layer in (0, 1) for name in ("positions", "a.scale")
    }
    other = nn.Sequential(Holding(), Holding())
    load_layers(store, "r", commit, other, 0, None)
    assert torch.equal(other[1].positions, net[1].positions) and torch.equal(other[1].a.scale, net[1].a.scale)
    assert torch.equal(other[1].b.weight, net[1].a.weight)


def test_a_damaged_file_is_noticed(tmp_path):
    store, net = DirectoryStore(tmp_path), model()
    commit = save(store, net, None)
    key = keys.layer("r", commit.layers[0])
    body = bytearray(store.get(key))
    body[-1] ^= 1
    store.put(key, body)
    with pytest.raises(CheckpointError, match=r"runs/r/layers/00000/\w{64}\.safetensors is damaged"):
        load_layers(store, "r", commit, model(), 0, None)
    store.delete(key)
    with pytest.raises(CheckpointError, match="is missing, though a commit lists it"):
        load_weights(store, "r")


def test_a_layer_that_has_not_changed_keeps_its_file(tmp_path):
    store, net = DirectoryStore(tmp_path), model()
    first = save(store, net, None)
    with torch.no_grad():
        net[0].bias += 1
    second = save(store, net, None, number=2, before=first.layers)
    assert [old == new for old, new in zip(first.layers, second.layers, strict=True)] == [False] + [True] * 4
    assert second.layers[0].startswith("00001/")


def test_a_parameter_that_is_not_finite_is_no_checkpoint(tmp_path):
    net = model()
    with torch.no_grad():
        net[4].weight[0, 0] = float("nan")
    with pytest.raises(Diverged, match=r"parameter out\.weight is not finite"):
        save_layers(DirectoryStore(tmp_path), "r", "00000", net, 0, None)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    store = DirectoryStore(tmp_path)
    commit = save(store, model(), None)
    other = model()
    other[0] = nn.Conv2d(1, 5, 3)
    with pytest.raises(CheckpointError, match=r"layer 0, param/weight: the checkpoint holds"):
        load_layers(store, "r", commit, other, 0, None)
    other[0] = nn.Conv2d(1, 2, 3, bias=False)
    with pytest.raises(CheckpointError, match="layer 0 of the checkpoint is of another model"):
        load_layers(store, "r", commit, other, 0, None)
