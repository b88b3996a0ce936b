"""What all trainings have in common: checkpoints that are whole or set aside, and a divergence that is noticed."""

import io
import pickle
import sys
from collections.abc import Callable
from typing import Any, Protocol

import torch

from twfer_dist.engine import storage

_DIGEST = 64  # hex digits before what torch saved: torch does not notice a byte that has changed


class Damaged(ValueError):
    """Bytes that are not what `pack` gave."""


class State(Protocol):
    """What a training goes on from."""

    def load(self, saved: bytes) -> None: ...


def pack(state: dict[str, Any]) -> bytes:
    """A checkpoint as bytes that tell whether they are whole."""
    stream = io.BytesIO()
    torch.save(state, stream)
    return storage.sha256(stream.getvalue()).encode() + stream.getvalue()


def unpack(saved: bytes) -> dict[str, Any]:
    """What was packed, on the CPU."""
    if saved[:_DIGEST] != storage.sha256(saved[_DIGEST:]).encode():
        raise Damaged("its bytes are not those that were written")
    return torch.load(io.BytesIO(saved[_DIGEST:]), map_location="cpu", weights_only=True)


def keep_checkpoint(uri: str, saved: bytes) -> None:
    """Write a checkpoint; the one before it stays beside."""
    if storage.exists(uri):
        _copy(uri, _before(uri))
    storage.write_bytes(uri, saved)


def set_aside_damaged(uri: str, fresh: Callable[[], State]) -> None:
    """See to it that `uri` is a checkpoint that a `fresh` state can load, or that there is none: the last one, else the
    one before it. What cannot be loaded is set aside, and that is said.
    """
    aside = []
    for place in (uri, _before(uri)):
        if not storage.exists(place):
            continue
        try:
            fresh().load(storage.read_bytes(place))
        except (Damaged, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, Damaged) else "it belongs to another training"
            _move(place, _named(place, ".damaged"))
            aside.append(f"{place} cannot be used ({reason}) and is now called {storage.name_of(place)}.damaged")
        else:
            if place != uri:
                _move(place, uri)
            break
    if aside:
        rest = "the checkpoint before it" if storage.exists(uri) else "the start"
        print(f"twfer: {'; '.join(aside)}: the training goes on from {rest}.", file=sys.stderr, flush=True)


def _before(uri: str) -> str:
    return _named(uri, ".before")


def _named(uri: str, ending: str) -> str:
    base, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{base}{ending}{mark}{query}"


def _copy(uri: str, to: str) -> None:
    (fs, path), (_, other) = storage.resolve(uri), storage.resolve(to)
    with storage.writing(to):
        storage.with_retries(lambda: fs.copy_file(path, other))


def _move(uri: str, to: str) -> None:
    _copy(uri, to)
    storage.delete_file(uri)
