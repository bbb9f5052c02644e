"""Layers' state to and from storage, one file per layer, and the commit that makes a checkpoint count.

A layer's file holds "param/NAME", "buffer/NAME", "hidden/NAME" (buffers that the layer keeps out of its state_dict) and
"optim/NAME/KEY" (the optimiser's tensors for that parameter), and the layer's name in the ``nn.Sequential``. It knows
nothing of stages: any plan can load it. Workers read only what a commit lists, and check each file's digest.
"""

import hashlib

import torch
from torch import nn

from runtime import keys
from runtime.codec import Bundle, MalformedObject, decode, encode
from runtime.errors import FuncpipeError
from runtime.factories import named_layers
from runtime.records import Commit
from runtime.store import KeyNotFound, Store


class CheckpointError(FuncpipeError):
    """A checkpoint is missing, damaged, or of another model."""


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


def save_layers(
    store: Store, prefix: str, model: nn.Sequential, first_layer: int, optimizer: torch.optim.Optimizer | None
) -> dict[int, str]:
    """Writes one file per layer of ``model``, whose first is layer ``first_layer``; returns digests by layer index."""
    digests: dict[int, str] = {}
    for index, (name, layer) in enumerate(named_layers(model), start=first_layer):
        body = encode(_layer_state(name, layer, optimizer))
        store.put(keys.layer(prefix, index), body)
        digests[index] = hashlib.sha256(body).hexdigest()
    return digests


def _read_layer(store: Store, commit: Commit, index: int) -> Bundle:
    key = keys.layer(commit.prefix, index)
    try:
        body = store.get(key)
        if (found := hashlib.sha256(body).hexdigest()) != commit.layers[index]:
            raise CheckpointError(f"{key} is damaged (SHA-256: {found}, committed: {commit.layers[index]})")
        return decode(body)
    except (KeyNotFound, MalformedObject) as error:
        raise CheckpointError(f"{key} is missing or damaged, though commit {commit.number} lists it: {error}") from None


def load_layers(
    store: Store, commit: Commit, model: nn.Sequential, first_layer: int, optimizer: torch.optim.Optimizer | None
) -> None:
    """Fills ``model`` (whose first layer is layer ``first_layer``) and ``optimizer`` from a committed checkpoint.

    Raises:
        CheckpointError: a file is missing, damaged, or does not fit the layer.
    """
    for index, (_, layer) in enumerate(named_layers(model), start=first_layer):
        state = _read_layer(store, commit, index)
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
            if optimizer is not None and saved:
                optimizer.state[parameter] = saved


def read_commit(store: Store, run: str, number: int) -> Commit:
    """Commit ``number`` of a run. Raises CheckpointError when there is none."""
    try:
        return Commit.model_validate_json(store.get(keys.commit(run, number)))
    except KeyNotFound:
        raise CheckpointError(f"run {run} has no commit {number}; was it started with `funcpipe start`?") from None


def write_commit(store: Store, run: str, commit: Commit) -> bool:
    """Makes a complete checkpoint count; False when another attempt at the same segment has done so already."""
    return store.put(keys.commit(run, commit.number), commit.model_dump_json().encode(), if_absent=True)


def last_commit(store: Store, run: str) -> Commit:
    """The newest commit of a run. Raises CheckpointError when there is none."""
    found = list(store.list(keys.commits_prefix(run)))
    if not found:
        raise CheckpointError(f"run {run} has no checkpoint")
    return Commit.model_validate_json(store.get(found[-1]))


def load_weights(store: Store, run: str) -> dict[str, torch.Tensor]:
    """The newest committed weights and buffers: the ``nn.Sequential``'s state_dict. Raises CheckpointError."""
    return _load(store, run, ("param", "buffer"))


def load_tensors(store: Store, run: str) -> dict[str, torch.Tensor]:
    """As ``load_weights``, with the buffers that the model keeps out of its state_dict."""
    return _load(store, run, ("param", "buffer", "hidden"))


def _load(store: Store, run: str, kinds: tuple[str, ...]) -> dict[str, torch.Tensor]:
    commit = last_commit(store, run)
    weights: dict[str, torch.Tensor] = {}
    for index in range(len(commit.layers)):
        state = _read_layer(store, commit, index)
        for name, value in state.items():
            kind, _, rest = name.partition("/")
            if kind in kinds and isinstance(value, torch.Tensor):
                weights[f"{state['layer']}.{rest}"] = value
    return weights
