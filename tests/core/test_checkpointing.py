"""Checkpoints are whole or absent, hold plain data only, and two of them are kept."""

from __future__ import annotations

import logging
import pickle
import random
import time

import pytest
import torch

from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files
from lightning_xvol.ledger.checkpoints import (
    AtomicCheckpointIO,
    checkpoint_path,
    list_checkpoints,
    newest_intact,
    prune,
    read_checkpoint,
)


def content(step: int, cell_id: str = "mine") -> dict:
    generator = torch.Generator().manual_seed(step)
    return {
        "state_dict": {"weight": torch.randn(5, 7, generator=generator), "count": torch.tensor(step)},
        "run": {"cell_id": cell_id, "step": step, "rows": [{"step": step, "name": "lr", "value": 0.1}]},
    }


def save(folder, step, cell_id="mine"):
    path = checkpoint_path(folder, step)
    AtomicCheckpointIO().save_checkpoint(content(step, cell_id), path)
    return path


def same(one: dict, other: dict) -> bool:
    tensors = [(one["state_dict"][name], other["state_dict"][name]) for name in ("weight", "count")]
    return all(torch.equal(*pair) for pair in tensors) and one["run"] == other["run"]


def test_a_checkpoint_reads_as_it_was_written(tmp_path):
    assert same(read_checkpoint(save(tmp_path, 3)), content(3))
    assert [path.name for path in tmp_path.iterdir()] == ["step=00000003.ckpt"]


def test_a_failing_writer_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = save(tmp_path, 3)

    def full(checkpoint, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint(content(4), path)
    assert same(read_checkpoint(path), content(3))
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, small_disk):
    small_disk(tmp_path, 64 * 1024)
    path = save(tmp_path, 3)
    large = {**content(4), "ballast": torch.zeros(64, 1024)}
    with pytest.raises(OSError, match="No space left on device"):
        AtomicCheckpointIO().save_checkpoint(large, checkpoint_path(tmp_path, 4))
    with pytest.raises(OSError, match="No space left on device"):
        AtomicCheckpointIO().save_checkpoint(large, path)
    assert list(tmp_path.iterdir()) == [path]
    assert same(read_checkpoint(path), content(3))


def test_the_two_newest_are_kept_by_step_and_not_by_age(tmp_path):
    for step in (9, 12, 100, 3):
        save(tmp_path, step)
    (tmp_path / "best.pt").write_bytes(b"not ours to remove")
    assert [path.name for path in list_checkpoints(tmp_path)] == [f"step={step:08d}.ckpt" for step in (100, 12, 9, 3)]
    prune(tmp_path, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "step=00000012.ckpt", "step=00000100.ckpt"]


def test_a_checkpoint_of_a_later_step_does_not_push_out_good_ones(tmp_path):
    """After a run falls back behind torn checkpoints, its next ones have lower steps than these."""
    for step in (6, 8):
        save(tmp_path, step)
    for step in (9, 12):
        checkpoint_path(tmp_path, step).write_bytes(b"torn")
    prune(tmp_path, 8)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step=00000008.ckpt", "step=00000006.ckpt"]


def damage(raw: bytes, how: str) -> bytes:
    if how == "empty":
        return b""
    if how == "truncated":
        return raw[: len(raw) // 2]
    if how == "last byte missing":
        return raw[:-1]
    if how == "zeros at the end":
        return raw[:-512] + bytes(512)
    place = raw.index(content(6)["state_dict"]["weight"].numpy().tobytes())
    flipped = bytearray(raw)
    flipped[place + 50] ^= 1
    return bytes(flipped)


@pytest.mark.parametrize("how", ["empty", "truncated", "last byte missing", "zeros at the end", "one bit of a weight"])
def test_a_damaged_newest_checkpoint_falls_back_with_one_warning(how, tmp_path, caplog):
    older, newest = save(tmp_path, 3), save(tmp_path, 6)
    newest.write_bytes(damage(newest.read_bytes(), how))
    with caplog.at_level(logging.WARNING):
        path, checkpoint = newest_intact(tmp_path, "mine")
    assert path == older and same(checkpoint, content(3))
    [warning] = caplog.messages
    assert str(newest) in warning and "falling back" in warning and "\n" not in warning


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """Flips each bit of a tensor's entry in the directory of the archive, which has no checksum, and other bits."""
    raw = save(tmp_path, 3).read_bytes()
    path = tmp_path / "damaged"
    directory = raw.index(b"PK\x01\x02")
    name = raw.index(b"/data/0", directory)
    entry = raw.rindex(b"PK\x01\x02", directory, name)
    bits = [*random.Random(0).sample(range(len(raw) * 8), 600), *range(entry * 8, (name + 7) * 8)]
    refused = 0
    for bit in bits:
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            read = read_checkpoint(path)
        except UserError:
            refused += 1
        else:
            assert same(read, content(3)), f"bit {bit % 8} of byte {bit // 8} of {len(raw)} changes what is read"
    assert refused > len(bits) / 4


class Innocent:
    pass


@pytest.mark.parametrize("archive", [True, False])
def test_pickled_code_is_refused_in_one_sentence_and_not_run(archive, tmp_path):
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    path = tmp_path / "evil.ckpt"
    if archive:
        torch.save({"run": {"cell_id": "mine"}, "payload": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(UserError) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert ("unpickling can run code" in str(error.value)) == archive
    assert not marker.exists()


def test_a_missing_checkpoint_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "absent.ckpt", tmp_path):
        with pytest.raises(UserError, match="no checkpoint at"):
            read_checkpoint(path)


def test_another_cells_checkpoint_is_ignored(tmp_path, caplog):
    mine = save(tmp_path, 3)
    save(tmp_path, 6, cell_id="another")
    torch.save([1, 2], checkpoint_path(tmp_path, 9))
    assert newest_intact(tmp_path, "mine")[0] == mine
    assert newest_intact(tmp_path, "a third") is None
    assert newest_intact(tmp_path / "absent", "mine") is None
    assert not caplog.messages


def test_a_reader_sees_the_old_checkpoint_until_the_new_one_is_whole(tmp_path):
    path = save(tmp_path, 3)

    def slow(file):
        for piece in (b"first", b"second"):
            file.write(piece)
            file.flush()
            assert same(read_checkpoint(path), content(3))
            time.sleep(0.001)

    files.write_by(path, slow)
    assert path.read_bytes() == b"firstsecond"
