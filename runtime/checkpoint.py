"""Layers' state to and from storage, one file per layer, and the commit that makes a checkpoint count.

A layer's file holds "param/NAME", "buffer/NAME" and "optim/NAME/KEY" (the optimiser's tensors for that parameter),
and the layer's name in the ``nn.Sequential``. It knows nothing of stages: any plan can load it. Workers read only
what a commit lists, and check each file's digest.
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


def _layer_state(name: str, layer: nn.Module, optimizer: torch.optim.Optimizer | None) -> Bundle:
    state: Bundle = {"layer": name}
    for parameter_name, parameter in layer.named_parameters():
        state[f"param/{parameter_name}"] = parameter.detach()
        for key, value in (optimizer.state.get(parameter, {}) if optimizer else {}).items():
            if isinstance(value, torch.Tensor):
                state[f"optim/{parameter_name}/{key}"] = value
    for buffer_name, buffer in layer.named_buffers():
        state[f"buffer/{buffer_name}"] = buffer
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
        targets = {f"param/{name}": parameter.data for name, parameter in layer.named_parameters()}
        targets |= {f"buffer/{name}": buffer for name, buffer in layer.named_buffers()}
        stored = {name for name in state if name.startswith(("param/", "buffer/"))}
        if stored != set(targets):
            raise CheckpointError(
                f"layer {index} of the checkpoint is of another model "
                f"(only stored: {sorted(stored - set(targets))}, only in the model: {sorted(set(targets) - stored)})"
            )
        for name, target in targets.items():
            value = state[name]
            assert isinstance(value, torch.Tensor)
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
    """The newest committed weights and buffers under the names of the ``nn.Sequential``'s state_dict.

    Buffers that the model keeps out of its state_dict are included. Raises CheckpointError.
    """
    commit = last_commit(store, run)
    weights: dict[str, torch.Tensor] = {}
    for index in range(len(commit.layers)):
        state = _read_layer(store, commit, index)
        for name, value in state.items():
            kind, _, rest = name.partition("/")
            if kind in ("param", "buffer") and isinstance(value, torch.Tensor):
                weights[f"{state['layer']}.{rest}"] = value
    return weights
