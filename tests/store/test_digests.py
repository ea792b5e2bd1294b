"""Digests of files: what is read once is read again as soon as the file is another."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pipeline.store import digests
from pipeline.store.digests import copy_file, file_digest, known_digest, state_of

LONG_AGO = 1_700_000_000_000_000_000


def laid(path: Path, content: bytes, when: int = LONG_AGO) -> Path:
    path.write_bytes(content)
    os.utime(path, ns=(when, when))
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_read_once_and_again_when_it_was_written_to(tmp_path, monkeypatch):
    path = laid(tmp_path / "file", b"one")
    assert file_digest(path) == sha256(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(digests.hashlib, "file_digest", None)
        assert file_digest(path) == sha256(b"one")
    path.write_bytes(b"two")
    assert file_digest(path) == sha256(b"two")
    (tmp_path / "other").write_bytes(b"six")
    os.replace(tmp_path / "other", path)
    assert file_digest(path) == sha256(b"six")


def test_what_was_changed_just_now_may_change_again_under_the_same_time(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two", b"six"):
        path.write_bytes(content)
        assert file_digest(path) == sha256(content)
        assert known_digest(state_of(path.stat())) is None


def test_anew_believes_nothing(tmp_path):
    path = laid(tmp_path / "file", b"one")
    assert file_digest(path) == sha256(b"one")
    laid(path, b"two")  # in place, with the size and the time that it had
    assert file_digest(path) == sha256(b"one")
    assert file_digest(path, anew=True) == sha256(b"two") == file_digest(path)


def test_a_copy_is_known_until_it_is_written_to(tmp_path):
    source = laid(tmp_path / "source", b"one")
    file_digest(source)
    target = laid(tmp_path / "target", b"what was there")
    os.link(target, tmp_path / "elsewhere")
    copy_file(source, target)
    assert known_digest(state_of(target.stat())) == sha256(b"one")
    assert (tmp_path / "elsewhere").read_bytes() == b"what was there"
    target.write_bytes(b"two")
    assert file_digest(target) == sha256(b"two")
    assert source.read_bytes() == b"one"


def test_a_copy_of_what_nobody_read_is_not_known(tmp_path):
    copy_file(laid(tmp_path / "source", b"never read"), tmp_path / "target")
    assert known_digest(state_of((tmp_path / "target").stat())) is None


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "nothing")
