"""`erm3 repair` on the command line: it says, it does, and it never deletes."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from pipeline.cli.runs import app
from pipeline.read import damage
from tests.store.family import publish, symbols


def erm3(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_a_whole_root_needs_nothing(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    status, said = erm3("repair", "--root", str(tmp_path))
    assert (status, "Nothing of what is published" in said) == (0, True)


def test_a_lost_manifest_is_named_with_its_copy_and_put_back_when_asked(tmp_path: Path) -> None:
    publish(tmp_path, "first", 5, symbols(3))
    (tmp_path / "manifest.json").unlink()
    (tmp_path / ".publications/000001-first/manifest.json").unlink(missing_ok=True)
    status, said = erm3("repair", "--root", str(tmp_path))
    assert status == 1
    assert "manifest.json is missing" in said
    assert "--apply" in said
    status, said = erm3("repair", "--root", str(tmp_path), "--apply")
    assert (status, damage(tmp_path)) == (0, [])


def test_what_no_copy_is_left_of_is_taken_from_a_second_root(tmp_path: Path) -> None:
    for name in ("root", "second"):
        publish(tmp_path / name, "first", 5, symbols(3))
    chunk = tmp_path / "root/ds_prices.zarr/return/0.0"
    chunk.write_bytes(b"\0" + chunk.read_bytes()[1:])
    status, said = erm3("repair", "--root", str(tmp_path / "root"), "--apply")
    assert (status, "no whole copy is at hand" in said) == (1, True)
    assert "--from NEW" in said
    status, said = erm3("repair", "--root", str(tmp_path / "root"), "--from", str(tmp_path / "second"), "--apply")
    assert (status, damage(tmp_path / "root")) == (0, []), said
