"""Layers' state to and from storage, one file per layer, named by its content (docs/protocol.md).

A layer's file holds "param/NAME", "buffer/NAME", "hidden/NAME" (buffers that the layer keeps out of its state_dict) and
"optim/NAME/KEY" (the optimiser's tensors for that parameter), and the layer's name in the ``nn.Sequential``. It knows
nothing of stages: any plan can load it. Workers read only what a commit lists, and check each file's digest.
"""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from runtime import keys
from runtime.codec import Bundle, MalformedObject, decode, encode
from runtime.errors import FuncpipeError
from runtime.factories import named_layers
from runtime.outcome import last_commit
from runtime.records import Commit
from runtime.store import KeyNotFound, Store

WRITERS = 2
"""Layers that are encoded and uploaded at a time: each takes memory for one more copy of its state."""


class CheckpointError(FuncpipeError):
    """A checkpoint is missing, damaged, or of another model."""


class Diverged(FuncpipeError):
    """The loss or a parameter is not finite any more."""


_RESUME = "A run that resumes this one goes on from the newest commit that is whole."

_HELD = ("param/", "buffer/", "hidden/")


def _held_tensors(layer: nn.Module) -> Bundle:
    """The layer's parameters and buffers as its file names them; one that it uses under two names, under both."""
    hidden = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in layer.named_modules(remove_duplicate=False)
        for name in module._non_persistent_buffers_set
    }
    held: Bundle = {f"param/{name}": value.detach() for name, value in layer.named_parameters(remove_duplicate=False)}
    for name, value in layer.named_buffers(remove_duplicate=False):
        held[f"{'hidden' if name in hidden else 'buffer'}/{name}"] = value
    return held


def _layer_state(name: str, layer: nn.Module, optimizer: torch.optim.Optimizer | None) -> Bundle:
    state: Bundle = {"layer": name, **_held_tensors(layer)}
    for parameter_name, parameter in layer.named_parameters():
        for key, value in (optimizer.state.get(parameter, {}) if optimizer else {}).items():
            if isinstance(value, torch.Tensor):
                state[f"optim/{parameter_name}/{key}"] = value
    return state


def _digest(file: bytes | bytearray) -> str:
    return hashlib.sha256(file).hexdigest()


def save_layers(
    store: Store,
    run: str,
    generation: str,
    model: nn.Sequential,
    first_layer: int,
    optimizer: torch.optim.Optimizer | None,
    *,
    before: Iterable[str] = (),
) -> dict[int, str]:
    """Writes the files of ``model``'s layers, whose first is layer ``first_layer``.

    Args:
        generation: of new files.
        before: names of files that are there; a layer whose state one of them holds is not written again.

    Returns:
        The name of each layer's file, by layer index.

    Raises:
        Diverged: a parameter is not finite.
    """
    known = {name.rpartition("/")[2]: name for name in before}

    def save(name: str, layer: nn.Module) -> str:
        for parameter_name, parameter in layer.named_parameters():
            if not torch.isfinite(parameter).all():
                raise Diverged(f"parameter {name}.{parameter_name} is not finite. The last checkpoint is good.")
        body = encode(_layer_state(name, layer, optimizer))
        digest = _digest(body)
        if digest in known:
            return known[digest]
        file = f"{generation}/{digest}"
        store.put(keys.layer(run, file), body)
        return file

    with ThreadPoolExecutor(WRITERS, "checkpoint") as writers:
        saved = [writers.submit(save, name, layer) for name, layer in named_layers(model)]
        return {index: future.result() for index, future in enumerate(saved, start=first_layer)}


def _read_file(store: Store, run: str, name: str) -> bytes | bytearray:
    """A layer's file, checked against the digest that its name is. Raises CheckpointError."""
    key, digest = keys.layer(run, name), name.rpartition("/")[2]
    try:
        body = store.get(key)
    except KeyNotFound:
        raise CheckpointError(f"{key} is missing, though a commit lists it. {_RESUME}") from None
    if (found := _digest(body)) != digest:
        raise CheckpointError(f"{key} is damaged (SHA-256: {found}, committed: {digest}). {_RESUME}")
    return body


def _read_layer(store: Store, run: str, name: str) -> Bundle:
    body = _read_file(store, run, name)
    try:
        return decode(body)
    except MalformedObject as error:
        raise CheckpointError(f"{keys.layer(run, name)} is damaged: {error}") from None


def check_layers(store: Store, run: str, commit: Commit) -> None:
    """Reads all files of a commit. Raises CheckpointError when one is missing or damaged."""
    with ThreadPoolExecutor(WRITERS, "check") as readers:
        list(readers.map(lambda name: _read_file(store, run, name), commit.layers))


def copy_layers(source: Store, source_run: str, commit: Commit, target: Store, run: str) -> list[str]:
    """Copies the files of a commit into another run, each checked on the way; returns their names there."""

    def copy(name: str) -> str:
        file = f"{keys.INITIAL}/{name.rpartition('/')[2]}"
        target.put(keys.layer(run, file), _read_file(source, source_run, name))
        return file

    with ThreadPoolExecutor(WRITERS, "copy") as copiers:
        return list(copiers.map(copy, commit.layers))


def load_layers(
    store: Store,
    run: str,
    commit: Commit,
    model: nn.Sequential,
    first_layer: int,
    optimizer: torch.optim.Optimizer | None,
    *,
    filled: bool = False,
) -> None:
    """Fills ``model`` (whose first layer is layer ``first_layer``) and ``optimizer`` from a committed checkpoint.

    Args:
        filled: they hold a state already; a layer whose state is the committed one is not read.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the layer.
    """
    for index, (layer_name, layer) in enumerate(named_layers(model), start=first_layer):
        file = commit.layers[index]
        if filled and _digest(encode(_layer_state(layer_name, layer, optimizer))) == file.rpartition("/")[2]:
            continue
        state = _read_layer(store, run, file)
        targets = _held_tensors(layer)
        stored = {name for name in state if name.startswith(_HELD)}
        if stored != set(targets):
            raise CheckpointError(
                f"layer {index} of the checkpoint is of another model "
                f"(only stored: {sorted(stored - set(targets))}, only in the model: {sorted(set(targets) - stored)})"
            )
        for name, target in targets.items():
            value = state[name]
            assert isinstance(value, torch.Tensor) and isinstance(target, torch.Tensor)
            if value.shape != target.shape or value.dtype != target.dtype:
                raise CheckpointError(
                    f"layer {index}, {name}: the checkpoint holds {value.dtype} {tuple(value.shape)}, "
                    f"the model {target.dtype} {tuple(target.shape)}"
                )
            target.copy_(value)
        for name, parameter in layer.named_parameters():
            prefix = f"optim/{name}/"
            saved = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            if optimizer is not None:
                optimizer.state.pop(parameter, None)
                if saved:
                    optimizer.state[parameter] = saved


def load_weights(store: Store, run: str) -> dict[str, torch.Tensor]:
    """The newest committed weights and buffers: the ``nn.Sequential``'s state_dict.

    Raises:
        CheckpointError, NoCommit: they are damaged, or there are none.
    """
    return _load(store, run, ("param", "buffer"))


def load_tensors(store: Store, run: str) -> dict[str, torch.Tensor]:
    """As ``load_weights``, with the buffers that the model keeps out of its state_dict."""
    return _load(store, run, ("param", "buffer", "hidden"))


def _load(store: Store, run: str, kinds: tuple[str, ...]) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = {}
    for file in last_commit(store, run).layers:
        state = _read_layer(store, run, file)
        for name, value in state.items():
            kind, _, rest = name.partition("/")
            if kind in kinds and isinstance(value, torch.Tensor):
                weights[f"{state['layer']}.{rest}"] = value
    return weights
