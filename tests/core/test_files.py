"""Files are either whole or absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    files.write_text(path, "old")
    with pytest.raises(KeyError), files.replacing(path) as file:  # noqa: PT012
        file.write(b"new" * 10_000)
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(call, tmp_path, monkeypatch):
    """Any of these calls can meet the full disk: a small write fails only when it is synced."""
    path = tmp_path / "result.json"
    files.write_json(path, {"old": 1})

    def full(*args):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left.*result\.json"), files.replacing(path) as file:  # noqa: PT012
        if call == "write":
            full()
        file.write(b"new")
        monkeypatch.setattr(os, call, full)
    assert files.read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace

    def note_sync(descriptor):
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    def note_replace(source, target):
        done.append("renamed")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    path = tmp_path / "a.json"
    files.write_json(path, [1])
    assert len(done) == 3
    assert done[0].startswith(str(tmp_path / ".a.json.")) and done[1:] == ["renamed", str(tmp_path)]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    files.write_text(path, "old")
    code = (
        "import os, sys, pathlib; from lightning_xvol.ledger import files\n"
        "with files.replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'new' * 100000); os._exit(5)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == 5
    assert path.read_text() == "old"


def test_two_writers_do_not_write_into_one_temporary_file(tmp_path):
    path = tmp_path / "metrics.csv"
    code = (
        "import sys, pathlib; from lightning_xvol.ledger import files\n"
        "for _ in range(200): files.write_text(pathlib.Path(sys.argv[1]), sys.argv[2] * 5000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * 5000, "b" * 5000}
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_stable_and_refuses_numbers_that_are_not_finite(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1, "a": [1.5, None]})
    first = path.read_bytes()
    files.write_json(path, {"a": [1.5, None], "b": 1})
    assert path.read_bytes() == first and first.endswith(b"\n")
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"a": float("nan")})
    assert path.read_bytes() == first


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"\xff\xfe\x00", b"nonsense"])
def test_torn_json_reads_as_none(content, tmp_path):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    assert files.read_json(path) is None


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot create the folder .*file/deep'.*--out"):
        files.make_folder(tmp_path / "file" / "deep")
    with pytest.raises(UserError, match="cannot create the folder"):
        files.make_folder(tmp_path / "file")
    assert files.make_folder(tmp_path / "a" / "b") == files.make_folder(tmp_path / "a" / "b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot write to the folder"):
            files.make_folder(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("open('/', 'wb')", "error: Is a directory: '/'"),
        ("open('n' * 300)", f"error: File name too long: '{'n' * 300}'"),
        (
            "files.write_text(pathlib.Path('/proc/self/none'), '')",
            "error: No such file or directory: '/proc/self/none'",
        ),
        ("print('figures' * 10_000, file=open('/dev/full', 'w'), flush=True)", "error: No space left on device"),
        ("os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('lost')", "error: No space left on device"),
    ],
)
def test_an_error_of_the_system_is_one_line(code: str, message: str) -> None:
    script = (
        "import os, pathlib\n"
        "from lightning_xvol import errors\n"
        "from lightning_xvol.ledger import files\n"
        f"def main():\n    {code}\n    return 0\n"
        "errors.run_command_line(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, message + "\n")


def special(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path.parent)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_only_regular_files_are_read_and_added_to(kind, tmp_path):
    """Opening a FIFO would wait for ever, and a device has no end."""
    special(tmp_path / "x", kind)
    for read in (files.read_bytes, files.read_text, files.read_json, files.open_bytes):
        with pytest.raises(OSError, match="not a regular file"):
            read(tmp_path / "x")
    with pytest.raises(OSError, match="x"):
        files.open_text(tmp_path / "x", "a")


def test_nothing_is_written_through_a_link(tmp_path):
    """A ledger of somebody else may hold a link to a file of the user."""
    (tmp_path / "own").write_text("own")
    (tmp_path / "x").symlink_to(tmp_path / "own")
    with pytest.raises(OSError, match="x"):
        files.open_text(tmp_path / "x", "a")
    files.write_text(tmp_path / "x", "new")
    assert (tmp_path / "own").read_text() == "own" and not (tmp_path / "x").is_symlink()


def test_a_temporary_file_is_new(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, "token_hex", lambda length: "0" * 2 * length)
    planted = tmp_path / f".x.{os.getpid()}-00000000.tmp"
    planted.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        files.write_text(tmp_path / "x", "new")
    assert not (tmp_path / "elsewhere").exists()


def test_a_name_of_any_length_and_a_name_that_no_file_can_have(tmp_path):
    files.write_text(tmp_path / ("ä" * 127), "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]
    for name in ("n" * 256, "a\0b"):
        with pytest.raises(OSError, match=r"File name too long|null character") as error:
            files.write_text(tmp_path / name, "new")
        assert error.value.filename == str(tmp_path / name)
    with pytest.raises(OSError, match="null character"):
        files.read_bytes(tmp_path / "a\0b")
    assert len(list(tmp_path.iterdir())) == 1


def test_links_in_a_circle_lead_nowhere(tmp_path):
    (tmp_path / "x").symlink_to("x")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        files.resolved(tmp_path / "x" / "y")
