"""Files are there whole or not at all, and a full disk is one line that names the file."""

import errno
import gzip
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file

from backbone.common.errors import InputError
from backbone.common.files import (
    atomic_write,
    cache_folder,
    open_text,
    save_arrays,
    write_text,
)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_and_its_folder_are_written(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "a.txt", "x")
    save_arrays(tmp_path / "new" / "b.safetensors", {"x": np.arange(3)[::-1]})
    assert (tmp_path / "new" / "a.txt").read_text() == "x"
    assert load_file(tmp_path / "new" / "b.safetensors")["x"].tolist() == [2, 1, 0]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.txt", "b.safetensors"]


def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InputError) as error:
        write_text(tmp_path / "a.txt", "new")
    message = f"cannot write {tmp_path / 'a.txt'}: No space left on device; free some space"
    assert str(error.value) == message
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"old"


def test_what_safetensors_says_of_a_full_disk_is_one_line(tmp_path: Path, monkeypatch) -> None:
    def fail(*_):
        raise SafetensorError("I/O error: No space left on device\n(os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises(InputError, match="b.safetensors: I/O error: No space left") as error:
        save_arrays(tmp_path / "b.safetensors", {"x": np.arange(3)})
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*file/a.txt: .*choose another place"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_what_cannot_be_read_meanwhile_is_not_said_to_be_unwritable(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "out" / "a.txt"):
        (tmp_path / "absent.txt").read_text()


def test_folders_made_for_a_file_that_fails_are_gone(tmp_path: Path) -> None:
    with pytest.raises(ValueError), atomic_write(tmp_path / "new" / "deep" / "a.txt"):
        raise ValueError
    assert not list(tmp_path.iterdir())
    write_text(tmp_path / "kept" / "a.txt", "x")
    with pytest.raises(ValueError), atomic_write(tmp_path / "kept" / "b.txt"):
        raise ValueError
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_text_is_read_alike_however_it_was_written(tmp_path: Path, end, mark, pack) -> None:
    path = tmp_path / "any name"
    path.write_bytes(pack(f"{mark}a ä{end}{end}b".encode()))
    with open_text(path) as file:
        assert list(file) == ["a ä\n", "\n", "b"]
    with path.open("rb") as opened, open_text(path, opened) as file:
        assert file.read() == "a ä\n\nb"


def test_the_cache_is_elsewhere_where_its_folder_cannot_be_made(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder("kind") == tmp_path / "cache" / "genomic-icl" / "kind"
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no/such")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder("kind").parent == tmp_path
