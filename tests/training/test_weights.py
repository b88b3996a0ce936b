"""The weight-file codec."""

from pathlib import Path

import pytest
import torch

from twfer_dist.core.errors import UserError
from twfer_dist.engine import storage
from twfer_dist.training import weights


class Foreign:
    """Unpickling it would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_a_half_precision_file_is_read_in_float32(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    data = weights.encode(network, half=True, metadata={"size": "64"}, extra={"factors": torch.tensor([0.1])})
    (tmp_path / "w.safetensors").write_bytes(data)
    file = weights.read(str(tmp_path / "w.safetensors"), "name another")
    assert file.metadata == {"size": "64"} and file.sha256 == storage.sha256(data)
    assert file.tensors["factors"].item() == torch.tensor(0.1).item()  # stored unchanged
    assert file.tensors["0.weight"].dtype == torch.float32
    assert file.tensors["1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(file.tensors["0.weight"], network[0].get_parameter("weight").half().float())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
def test_public_checkpoints_are_unwrapped(tmp_path: Path, wrapper: str | None) -> None:
    state = {"module.fc.weight": torch.ones(2)}
    torch.save({"iter": 3, wrapper: state} if wrapper else state, tmp_path / "w.pth")
    file = weights.read(str(tmp_path / "w.pth"), "name another")
    assert file.metadata == {} and torch.equal(file.tensors["fc.weight"], torch.ones(2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is not a weight file"),
        (b"\x10\0\0\0\0\0\0\0{broken json.....", "is not a weight file"),
        (Foreign(), "is not a weight file"),
        ({"model_state_dict": torch.nn.Linear(1, 1)}, "is not a weight file"),
        ([1, 2], "holds something other than a network's weights"),
    ],
)
def test_another_file_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, message: str
) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        weights.read(str(path), "name another")
    assert str(error.value).startswith(str(path)) and str(error.value).endswith(": name another.")
    assert "\n" not in str(error.value) and "executed" not in capsys.readouterr().out


def test_a_file_of_the_old_format_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"fc.weight": torch.ones(4, 4)}, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match="is not a weight file"):
            weights.read(str(path), "name another")
