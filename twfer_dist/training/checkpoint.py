"""Checkpoints with a checksum: a damaged one is set aside, and the training resumes from the one before it."""

import io
import logging
import pickle
from collections.abc import Callable
from typing import Any, Protocol

import torch

from twfer_dist.engine import storage

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"

_DIGEST = 64  # hex digits in front of PyTorch's bytes: PyTorch does not notice a changed byte


class DamagedCheckpoint(ValueError):
    """Bytes that differ from what `pack` returned."""


class _Loadable(Protocol):
    def load(self, saved: bytes) -> None: ...


def pack(state: dict[str, Any]) -> bytes:
    """A checkpoint as bytes that carry their own checksum."""
    stream = io.BytesIO()
    torch.save(state, stream)
    return storage.sha256(stream.getvalue()).encode() + stream.getvalue()


def unpack(saved: bytes) -> dict[str, Any]:
    """What was packed, with its tensors on the CPU. Raises DamagedCheckpoint."""
    if saved[:_DIGEST] != storage.sha256(saved[_DIGEST:]).encode():
        raise DamagedCheckpoint("its bytes have changed since it was written")
    return torch.load(io.BytesIO(saved[_DIGEST:]), map_location="cpu", weights_only=True)


def save_checkpoint(uri: str, saved: bytes) -> None:
    """Write a checkpoint and keep the previous one beside it."""
    if storage.exists(uri):
        _move(uri, _with_suffix(uri, ".before"))
    storage.write_bytes(uri, saved)


def last_checkpoint(uri: str) -> bytes | None:
    """The last checkpoint, if any: after a kill between the two steps of `save_checkpoint`, the one before it."""
    for candidate in (uri, _with_suffix(uri, ".before")):
        if storage.exists(candidate):
            return storage.read_bytes(candidate)
    return None


def delete_checkpoints(uri: str) -> None:
    """Delete a checkpoint and the one before it."""
    for candidate in (uri, _with_suffix(uri, ".before")):
        storage.delete_file(candidate)


def set_aside_damaged(uri: str, new_state: Callable[[], _Loadable]) -> None:
    """Leave at `uri` the newest checkpoint that a new state can load, or none. Others are renamed to `.damaged`, with a
    warning.
    """
    faults = []
    for candidate in (uri, _with_suffix(uri, ".before")):
        if not storage.exists(candidate):
            continue
        try:
            new_state().load(storage.read_bytes(candidate))
        except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, DamagedCheckpoint) else "it belongs to another training"
            _move(candidate, _with_suffix(candidate, ".damaged"))
            faults.append(f"{candidate} cannot be used ({reason}); renamed to {storage.name_of(candidate)}.damaged")
        else:
            if candidate != uri:
                _move(candidate, uri)
            break
    if faults:
        origin = "from the previous checkpoint" if storage.exists(uri) else "from the start"
        logger.warning("%s: the training continues %s.", "; ".join(faults), origin)


def _with_suffix(uri: str, suffix: str) -> str:
    base, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{base}{suffix}{mark}{query}"


def _move(uri: str, to: str) -> None:
    (fs, path), (_, other) = storage.resolve(uri), storage.resolve(to)
    with storage.writing(to):
        storage.with_retries(lambda: fs.move(path, other))
