"""What a library takes seconds to make is made once per user, and never taken for whole where it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench_report.kept import kept


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_text_is_made_once_by_its_name(home, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(home / "shared"))
    made = []

    def make() -> str:
        made.append(1)
        return f"first\r\nsecond é {len(made)}"

    assert [kept("1.0", make) for _ in range(3)] == ["first\r\nsecond é 1"] * 3
    assert kept("1.1", make) == "first\r\nsecond é 2"
    assert not (home / "shared").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "no text", "another's"])
def test_what_is_damaged_is_made_again(home, damage):
    kept("other", lambda: "its text")
    (other,) = files_in(home)
    kept("1.0", lambda: "whole text")
    (path,) = {*files_in(home)} - {other}
    whole = path.read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    path.write_bytes(
        {"cut": whole[:-1], "flipped": flipped, "no text": b"\xff\xfe", "another's": other.read_bytes()}[damage]
    )
    assert kept("1.0", lambda: "whole text") == "whole text"
    assert path.read_bytes() == whole


def test_what_anybody_may_write_is_made_again(home):
    kept("1.0", lambda: "ours")
    (path,) = files_in(home)
    assert not path.parent.stat().st_mode & 0o077
    assert kept("1.0", lambda: "made anew") == "ours"
    path.chmod(0o666)
    assert kept("1.0", lambda: "made anew") == "made anew"
    assert kept("1.0", lambda: "once more") == "made anew"


def test_where_nothing_can_be_kept_it_is_made_each_time(home, monkeypatch):
    (home / ".cache").write_text("no folder")
    assert [kept("1.0", lambda: "text") for _ in range(2)] == ["text"] * 2
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as where the system knows of no home
    assert kept("1.0", lambda: "text") == "text"
