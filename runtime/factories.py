"""The user's callables by name, and what they make: model, layers of one stage, loss, optimiser.

Names resolve in the package's source folder first. Only code that ships with the function, or is installed beside
it, can be named: nothing is fetched and nothing is evaluated.
"""

import importlib
import sys
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parameter import UninitializedTensorMixin

from runtime.errors import UserInputError
from runtime.spec import DType, LossName, LossSpec, ModelSpec, OptimizerSpec, WireType

Loss = Callable[[Any, torch.Tensor], torch.Tensor]

TORCH_DTYPES = {DType.FLOAT32: torch.float32, DType.FLOAT64: torch.float64}
WIRE_DTYPES = {WireType.NATIVE: None, WireType.BFLOAT16: torch.bfloat16}

_LOSSES: dict[LossName, Loss] = {
    LossName.CROSS_ENTROPY: functional.cross_entropy,
    LossName.MSE: functional.mse_loss,
    LossName.L1: functional.l1_loss,
    LossName.BINARY_CROSS_ENTROPY: functional.binary_cross_entropy_with_logits,
}
_OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def _blame(error: BaseException) -> str:
    """The exception in one line, with the innermost place it passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _prefer(source: Path) -> None:
    """Makes ``source`` the first place to import from, also for names that another source folder has taken."""
    place = str(source.resolve())
    if sys.path[0] == place:  # nor are caches to be cleared while other threads import
        return
    if place in sys.path:
        sys.path.remove(place)
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    own = {entry.stem for entry in source.glob("*.py")} | {entry.parent.name for entry in source.glob("*/__init__.py")}
    for name in list(sys.modules):
        origin = getattr(sys.modules[name], "__file__", None)
        if name.partition(".")[0] in own and origin and not Path(origin).resolve().is_relative_to(place):
            del sys.modules[name]


def resolve(name: str, source: Path, key: str) -> Callable[..., Any]:
    """The callable named "module:function"; ``key`` is the job's key that names it, for messages.

    Raises:
        UserInputError: there is no such module or function, or importing the module fails.
    """
    module_name, _, function_name = name.partition(":")
    _prefer(source)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name.partition(".")[0] or error.name == module_name:
            raise UserInputError(
                f"{key} = {name!r}: there is no module {module_name!r} in {source}. "
                f"Create it there, or correct {key} or package.source."
            ) from error
        raise UserInputError(
            f"{key} = {name!r}: {module_name} needs the module {error.name!r}, which is not installed. "
            "Install it here and list it in package.requirements."
        ) from error
    except Exception as error:  # the user's module may raise anything while it is imported
        raise UserInputError(f"{key} = {name!r}: importing {module_name} failed: {_blame(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        state = "is not callable" if function is not None else "does not exist"
        raise UserInputError(f"{key} = {name!r}: {function_name!r} {state} in {module.__file__}. Correct {key}.")
    return function


def call(name: str, source: Path, key: str, arguments: dict[str, Any]) -> Any:
    """The value of the named factory. Raises UserInputError when it cannot be resolved or fails."""
    function = resolve(name, source, key)
    try:
        return function(**arguments)
    except Exception as error:  # the user's factory may raise anything
        raise UserInputError(f"{key} = {name!r}: the call failed: {_blame(error)}") from error


def named_layers(model: nn.Sequential) -> list[tuple[str, nn.Module]]:
    """(name, module) of each layer; unlike ``named_children`` a module used twice is listed twice."""
    return [(name, module) for name, module in model._modules.items() if module is not None]


def _slice(model: nn.Sequential, first_layer: int, end_layer: int) -> nn.Sequential:
    """Some of the layers under their names. Not ``model[a:b]``: that calls a subclass's own constructor."""
    return nn.Sequential(OrderedDict(named_layers(model)[first_layer:end_layer]))


def _checked(model: object, spec: ModelSpec) -> nn.Sequential:
    key = f"model.factory = {spec.factory!r}"
    if not isinstance(model, nn.Sequential):
        raise UserInputError(f"{key}: must return an nn.Sequential (returned: {type(model).__name__})")
    if len(model) == 0:
        raise UserInputError(f"{key}: the nn.Sequential has no layer")
    if type(model).forward is not nn.Sequential.forward:
        raise UserInputError(
            f"{key}: {type(model).__name__} has a forward of its own, but stages run the layers one after the other. "
            "Make what its forward adds a layer of the nn.Sequential."
        )
    if own := [*model._parameters, *model._buffers]:
        raise UserInputError(
            f"{key}: {type(model).__name__} holds {own[0]!r} itself, but only its layers are trained. "
            "Move it into a layer."
        )
    for index, (_, layer) in enumerate(named_layers(model)):
        if any(isinstance(tensor, UninitializedTensorMixin) for tensor in [*layer.parameters(), *layer.buffers()]):
            raise UserInputError(
                f"{key}: layer {index} ({type(layer).__name__}) has parameters of unknown shape. "
                "Give its sizes instead of using a lazy module."
            )
    owner: dict[int, int] = {}
    for index, (_, layer) in enumerate(named_layers(model)):
        for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]:
            if owner.setdefault(id(tensor), index) != index:
                raise UserInputError(
                    f"{key}: layers {owner[id(tensor)]} and {index} share the tensor {name!r}; "
                    "tied weights are not supported yet. Give each layer its own."
                )
    return model


def build_model(spec: ModelSpec, source: Path, seed: int, dtype: DType) -> nn.Sequential:
    """The whole model with its initial weights: ``torch.manual_seed(seed); factory(**args).to(dtype)``.

    Raises:
        UserInputError: the factory cannot be resolved or fails, does not return a non-empty ``nn.Sequential``, or two
            layers share a tensor.
    """
    torch.manual_seed(seed)
    return _checked(call(spec.factory, source, "model.factory", spec.args), spec).to(TORCH_DTYPES[dtype])


def _within(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in a value and in the lists, tuples and dicts that it is made of."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _within(item)


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor that the module holds: parameters, buffers and plain attributes."""
    for child in module.modules():
        yield from _within(vars(child))


def _on_meta(spec: ModelSpec, source: Path, first_layer: int, end_layer: int) -> nn.Sequential | None:
    """The stage's layers with memory for their own tensors only, or None where the factory cannot be run that way."""
    function = resolve(spec.factory, source, "model.factory")
    try:
        with torch.device("meta"):
            model = function(**spec.args)
    except Exception:  # a factory that computes with values cannot run on the meta device; the caller builds it whole
        return None
    layers = _slice(_checked(model, spec), first_layer, end_layer)
    if len(list(layers.parameters())) != len(list(layers.named_parameters(remove_duplicate=False))):
        return None  # to_empty would give each name of a tensor used twice a tensor of its own
    layers.to_empty(device="cpu")
    plain_on_meta = any(tensor.is_meta for tensor in _tensors(layers))
    return None if plain_on_meta else layers


def build_layers(
    spec: ModelSpec, source: Path, first_layer: int, end_layer: int, seed: int, dtype: DType
) -> tuple[nn.Sequential, bool]:
    """The layers of one stage, and whether only they were ever given memory.

    Where the factory allows it, the model is built on torch's meta device and only the stage's own layers are given
    memory; their parameters and buffers are then *uninitialised* until a checkpoint is loaded. Else the whole model is
    built and the rest dropped.

    Raises:
        UserInputError: as ``build_model``.
    """
    layers = _on_meta(spec, source, first_layer, end_layer)
    if layers is None:
        return _slice(build_model(spec, source, seed, dtype), first_layer, end_layer), False
    return layers.to(TORCH_DTYPES[dtype]), True


def build_loss(spec: LossSpec, source: Path) -> Loss:
    """The loss f(output, target), the mean over the samples. Raises UserInputError when it cannot be resolved."""
    if isinstance(spec, LossName):
        return _LOSSES[spec]
    return resolve(spec, source, "training.loss")


def build_optimizer(spec: OptimizerSpec, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer | None:
    """The optimiser over ``parameters``, or None where there are none to train."""
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        return None
    return _OPTIMIZERS[spec.name](trainable, **spec.model_dump(exclude={"name"}))
