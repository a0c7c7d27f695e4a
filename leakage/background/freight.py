"""A snapshot on its way to another process: without the Trainer, and with its hooks."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from functools import partial
from typing import Any

import cloudpickle
from torch.utils._pytree import tree_leaves

from leakage.gradients.source import BatchHooks
from leakage.snapshot import Snapshot

_TRAINER, _UNNEEDED = "the Trainer", "what makes an optimizer"


def pack(snapshot: Snapshot, known: Mapping[str, Any], trainer: type) -> bytes:
    """A snapshot as bytes, for a process of this very program.

    Classes and functions that the other process could not import, of a script or a notebook, go
    along by value.

    Args:
        snapshot: as it is.
        known: what the other process has already, by name.
        trainer: the class of what hooks may hold of training, which is replaced by how far it is.
    """
    module = snapshot.module
    leaves = [leaf for part in module.modules() for leaf in tree_leaves(vars(part))]
    names = {id(leaf): _UNNEEDED for leaf in leaves if isinstance(leaf, partial)}
    names |= {id(thing): name for name, thing in known.items()}
    hooks = {
        name: list(parameter._backward_hooks.values())
        for name, parameter in module.named_parameters()
        if parameter._backward_hooks
    }
    file = io.BytesIO()
    _Packer(file, names, trainer).dump((snapshot, hooks))
    progress = getattr(module, "_trainer", None)
    packed: bytes = cloudpickle.dumps((progress, file.getvalue()))
    return packed


def unpack(data: bytes, known: Mapping[str, Any]) -> Snapshot:
    """The snapshot that was packed, with all that `known` names in place."""
    progress, packed = pickle.loads(data)
    names = {_TRAINER: progress, _UNNEEDED: _make_nothing, **known}
    snapshot, hooks = _Unpacker(io.BytesIO(packed), names).load()
    if progress is not None:  # a module that is sent has lost its Trainer
        prepare = snapshot.source.prepare
        owners = prepare.owners if isinstance(prepare, BatchHooks) else []
        for part in (*snapshot.module.modules(), *owners):
            if hasattr(part, "_trainer"):
                object.__setattr__(part, "_trainer", progress)
    parameters = dict(snapshot.module.named_parameters())
    for name, some in hooks.items():
        for hook in some:
            parameters[name].register_hook(hook)
    unpacked: Snapshot = snapshot
    return unpacked


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, names: Mapping[int, str], trainer: type) -> None:
        super().__init__(file)
        self._names, self._trainer = names, trainer

    def persistent_id(self, obj: Any) -> str | None:
        return _TRAINER if isinstance(obj, self._trainer) else self._names.get(id(obj))


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, names: Mapping[str, Any]) -> None:
        super().__init__(file)
        self._names = names

    def persistent_load(self, pid: str) -> Any:
        return self._names[pid]


def _make_nothing() -> None:
    """Stands in for what makes an optimizer: a snapshot is not trained."""
