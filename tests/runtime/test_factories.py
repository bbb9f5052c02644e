import sys

import numpy
import pytest
import torch
from torch import nn

from runtime.dataset import load_dataset
from runtime.errors import UserInputError
from runtime.factories import build_layers, build_loss, build_model, build_optimizer, resolve
from runtime.spec import SGD, Adam, AdamW, DataSpec, DType, LossName, ModelSpec
from tests.gangs import SOURCE

TINY = ModelSpec(factory="tiny:build")


def test_initial_weights_are_those_of_the_seeded_factory():
    model = build_model(TINY, SOURCE, 5, DType.FLOAT64)
    torch.manual_seed(5)
    expected = resolve("tiny:build", SOURCE, "model.factory")().double()
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_a_stage_gets_memory_for_its_own_layers_only():
    layers, alone = build_layers(TINY, SOURCE, 3, 5, 0, DType.FLOAT32)
    assert alone
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU]
    assert not any(parameter.is_meta for parameter in layers.parameters())


def test_a_factory_that_looks_at_values_is_built_whole():
    layers, alone = build_layers(ModelSpec(factory="tiny:build_computing"), SOURCE, 0, 1, 0, DType.FLOAT32)
    assert not alone
    assert layers[0].weight.shape == (4, 8)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("absent:build", "there is no module 'absent' in"),
        ("tiny:absent", "'absent' does not exist in"),
        ("tiny:nn", "'nn' is not callable in"),
        ("tiny:build_list", r"must return an nn.Sequential \(returned: list\)"),
        ("tiny:build_tied", "layers 0 and 2 share the tensor 'weight'"),
        ("unusual:own_forward", "OwnForward has a forward of its own"),
        ("unusual:own_parameter", "Sequential holds 'bias' itself, but only its layers are trained"),
        ("unusual:lazy", r"layer 0 \(LazyLinear\) has parameters of unknown shape"),
    ],
)
def test_a_factory_that_cannot_be_used_is_named(factory, message):
    with pytest.raises(UserInputError, match=message):
        build_model(ModelSpec(factory=factory), SOURCE, 0, DType.FLOAT32)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_package", "needs the module 'no_such_package', which is not installed"),
        ("1/0", r"importing bad failed: ZeroDivisionError: division by zero \(.*bad.py:1\)"),
        ("def build(: pass", "importing bad failed: SyntaxError"),
        ("def build():\n    raise RuntimeError('no')", r"the call failed: RuntimeError: no \(.*bad.py:2\)"),
        ("def build(x):\n    return x", "the call failed: TypeError"),
    ],
)
def test_an_error_in_the_user_s_module_says_where(tmp_path, code, message):
    (tmp_path / "bad.py").write_text(code)
    sys.modules.pop("bad", None)
    with pytest.raises(UserInputError, match=message):
        build_model(ModelSpec(factory="bad:build"), tmp_path, 0, DType.FLOAT32)


def test_two_packages_may_use_the_same_module_name(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.py").write_text(f"def which():\n    return {name!r}\n")
    assert [resolve("same:which", tmp_path / name, "key")() for name in ("one", "two", "one")] == ["one", "two", "one"]


def test_losses_are_means_and_may_be_the_user_s():
    x, y = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert build_loss(LossName.CROSS_ENTROPY, SOURCE)(x, y) == nn.functional.cross_entropy(x, y)
    assert build_loss("tiny:data", SOURCE) is resolve("tiny:data", SOURCE, "training.loss")


def test_optimisers_get_their_options_and_only_trainable_parameters():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    sgd = build_optimizer(SGD(name="sgd", lr=0.5, momentum=0.9, nesterov=True), layer.parameters())
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.param_groups[0]["params"] == [layer.weight]
    assert (sgd.param_groups[0]["lr"], sgd.param_groups[0]["nesterov"]) == (0.5, True)
    assert type(build_optimizer(Adam(name="adam"), layer.parameters())) is torch.optim.Adam
    adamw = build_optimizer(AdamW(name="adamw", betas=(0.8, 0.9)), layer.parameters())
    assert adamw.param_groups[0]["betas"] == (0.8, 0.9)
    assert build_optimizer(Adam(name="adam"), nn.ReLU().parameters()) is None


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("[]", 'must return {"train"'),
        ("{'test': (x, x)}", 'must return {"train"'),
        ("{'train': (x, x), 'valid': (x, x)}", 'must return {"train"'),
        ("{'train': x}", "must be a pair"),
        ("{'train': (x, x[:2])}", r"as many inputs as targets \(inputs: 3, targets: 2\)"),
        ("{'train': (x[:0], x[:0])}", '"train" has no sample'),
        ("{'train': ([1], [2])}", "must be a tensor or a numpy array"),
        ("{'train': (x.sum(), x.sum())}", "the first dimension must count samples"),
    ],
)
def test_data_of_another_form_is_refused(tmp_path, made, message):
    (tmp_path / "made.py").write_text(f"import torch\n\ndef load():\n    x = torch.zeros(3, 2)\n    return {made}\n")
    sys.modules.pop("made", None)
    with pytest.raises(UserInputError, match=message):
        load_dataset(DataSpec(factory="made:load"), tmp_path)


def test_numpy_data_is_the_same_as_tensors(tmp_path):
    (tmp_path / "arrays.py").write_text(
        "import numpy, torch\n\n"
        "def arrays():\n    return {'train': (numpy.eye(3, dtype='float32'), numpy.arange(3))}\n\n"
        "def tensors():\n    return {'train': (torch.eye(3), torch.arange(3))}\n"
    )
    found = [load_dataset(DataSpec(factory=f"arrays:{name}"), tmp_path) for name in ("arrays", "tensors")]
    assert found[0].sha256 == found[1].sha256
    assert found[0].test_inputs is None
    assert numpy.array_equal(found[0].train_inputs.numpy(), numpy.eye(3))
