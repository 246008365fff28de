"""Files of named tensors: safetensors with checksums, written all or nothing, refused whole if anything is wrong.

The format itself accepts a flipped bit, so the metadata holds the SHA-256 of each tensor, and one of the metadata.
Tensors are made C-contiguous before writing: safetensors 0.8 writes wrong bytes otherwise (its issue 825).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv._files import home_path_of, json_table, write_atomically
from fastconv.errors import CheckpointError
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.core.parameter import Buffer
from fastconv.nn.core.undo import sets_all_or_none
from fastconv.nn.model.sparse import pack, unpack

FORMAT = "fastconv"
VERSION = 1
_ABOUT = {
    "about": "a table",
    "class_names": "a list of texts, a name for each class",
    "input_shape": "a list of sizes, each an int of at least 1",
}


def save_weights(
    model: AbstractLayer, path: str | os.PathLike[str], *, sparse: bool = False, about: Mapping[str, Any] | None = None
) -> None:
    """Write the parameters and buffers of a built model; OutputError leaves what was there before.

    `sparse` stores what is mostly zero by its other values (see `fastconv.nn.model.sparse`), `about` is told of them.
    """
    tensors, metadata = host_tensors(model), {"kind": "weights"} | ({} if about is None else {"about": dict(about)})
    if validate.truth(sparse, "sparse"):
        tensors, shapes = pack(tensors)
        metadata |= {"sparse": shapes}
    write_tensors(path, tensors, metadata)


def load_weights(model: AbstractLayer, path: str | os.PathLike[str]) -> None:
    """Read the parameters and buffers of a built model; CheckpointError leaves it unchanged."""
    tensors, _ = read_tensors(path, kind="weights")
    check_fit(path, tensors, model.named_tensors())
    set_tensors(model, tensors)


def host_tensors(model: AbstractLayer) -> dict[str, np.ndarray]:
    """Return the values of all parameters and buffers by name."""
    return {name: model.backend.to_numpy(tensor.array) for name, tensor in model.named_tensors().items()}


@sets_all_or_none
def set_tensors(model: AbstractLayer, tensors: Mapping[str, np.ndarray]) -> None:
    """Give all parameters and buffers the values of their names."""
    for name, tensor in model.named_tensors().items():
        tensor.data = tensors[name].reshape(tensor.shape)


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write a file of tensors and metadata that JSON can hold."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}  # a scalar stays one
    manifest = {"version": VERSION, "sha256": {name: _digest(array) for name, array in arrays.items()}, **metadata}
    text = json.dumps(manifest, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    data = save(arrays, metadata={"format": FORMAT, "manifest": text, "manifest_sha256": digest})
    write_atomically(path, data)


def read_tensors(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and the metadata of a file that `write_tensors` wrote with this `kind`."""
    name = os.fspath(home_path_of(path, "path"))
    try:
        os.stat(name)
        why = ""
    except FileNotFoundError:
        why = ""
    except OSError as error:  # a name too long, a folder that may not be searched
        why = f" ({error.strerror})"
    if why or not os.path.isfile(name):
        raise CheckpointError(
            f"path: got {name!r}, which is no file{why}; allowed: a file of {kind} that fastconv wrote"
        )
    tensors, header = _read(name)
    text = header.get("manifest", "")
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"path: got {name!r}, a safetensors file of another program; allowed: one that fastconv wrote"
        )
    if hashlib.sha256(text.encode()).hexdigest() != header.get("manifest_sha256"):
        raise CheckpointError(f"path: got {name!r}, whose metadata is damaged; allowed: an intact file")
    manifest = _manifest(name, text)
    if manifest.get("version") != VERSION:
        raise CheckpointError(f"path: got {name!r} of format version {manifest.get('version')}; allowed: {VERSION}")
    if manifest.get("kind") != kind:
        raise CheckpointError(f"path: got {name!r}, a file of {manifest.get('kind')}; allowed: a file of {kind}")
    if not isinstance(manifest.get("sha256"), dict) or set(manifest["sha256"]) != set(tensors):
        raise CheckpointError(
            f"path: got {name!r}, whose tensors are not those of its metadata; allowed: an intact file"
        )
    for key, array in tensors.items():
        if _digest(array) != manifest["sha256"][key]:
            raise CheckpointError(f"path: got {name!r}, whose tensor {key!r} is damaged; allowed: an intact file")
    return unpack(name, tensors, manifest), manifest


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors of a file of weights, and what it says that they are weights of."""
    tensors, manifest = read_tensors(path, kind="weights")
    about = manifest.get("about", {})
    told = about if isinstance(about, dict) else {}
    classes, shape = told.get("class_names", [""]), told.get("input_shape", [1])
    fitting = {
        "about": isinstance(about, dict),
        "class_names": isinstance(classes, list) and bool(classes) and all(isinstance(each, str) for each in classes),
        "input_shape": isinstance(shape, list)
        and bool(shape)
        and all(type(each) is int and each > 0 for each in shape),
    }
    for key, fits in fitting.items():
        if not fits:
            got = about if key == "about" else told[key]
            raise CheckpointError(
                f"path: got {os.fspath(path)!r}, whose metadata has {key} {got!r:.100}; allowed: {_ABOUT[key]}"
            )
    return tensors, told


def check_fit(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], wanted: Mapping[str, Buffer]) -> None:
    """Refuse tensors that are not, by name, shape and type, those wanted; a scalar may be (1,), as in older files."""
    file = os.fspath(path)
    if wanted.keys() != tensors.keys():
        missing = [name for name in wanted if name not in tensors]  # in the model's order; the file has none
        foreign = sorted(tensors.keys() - wanted.keys(), key=_natural)
        raise CheckpointError(
            f"path: got {file!r}, a file of another model (it lacks {_some(missing)}, and has {_some(foreign)}"
            f" too much); allowed: one with the {len(wanted)} tensors of this model"
        )
    for name, tensor in wanted.items():
        got = tensors[name]
        if got.shape not in (tensor.shape, tensor.shape or (1,)) or got.dtype != tensor.array.dtype:
            raise CheckpointError(
                f"path: got {file!r}, whose {name} is {got.dtype} {got.shape};"
                f" allowed: {tensor.array.dtype} {tensor.shape}"
            )


def _read(name: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(name, framework="np") as file:
            keys = file.keys()
            return {key: file.get_tensor(key) for key in keys}, file.metadata() or {}
    except (SafetensorError, OSError, TypeError, ValueError) as error:  # the latter two: types that NumPy does not have
        raise CheckpointError(f"path: got {name!r}, which cannot be read ({error}); allowed: an intact file") from error


def _manifest(name: str, text: str) -> dict[str, Any]:
    """Return the metadata that JSON holds; CheckpointError where it is something else."""
    manifest = json_table(text)
    if manifest is None:
        raise CheckpointError(f"path: got {name!r}, whose metadata is no table; allowed: a file that fastconv wrote")
    return manifest


def _digest(array: np.ndarray) -> str:
    head = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def _natural(name: str) -> list[str | int]:
    """Return a key by which ``2.weight`` comes before ``10.weight``."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", name))]


def _some(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
