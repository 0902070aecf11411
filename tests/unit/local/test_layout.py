"""Where things lie, and who may look at them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from serve_app.local.layout import DataDir, LocalError, make_private, write_atomically


def test_sockets_lie_with_the_data_while_the_path_is_short(tmp_path: Path) -> None:
    data_dir = DataDir(Path("/srv/recado"))
    assert data_dir.socket_dir("valkey") == Path("/srv/recado/valkey")


def test_a_long_path_gets_a_short_folder_that_is_its_own() -> None:
    one = DataDir(Path("/srv") / ("x" * 90) / "one")
    two = DataDir(Path("/srv") / ("x" * 90) / "two")
    socket = one.socket_dir("postgres") / ".s.PGSQL.5432"
    assert len(os.fsencode(socket)) < 100
    assert one.socket_dir("postgres") != two.socket_dir("postgres")


def test_haproxys_sockets_fit_into_what_it_allows() -> None:
    node = "f" * 56
    socket = DataDir(Path("/a/very/long/path/to/the/data")).short / node / "metrics.sock"
    # HAProxy adds a suffix while it binds: it takes 97 of the system's 108 bytes.
    assert len(os.fsencode(socket)) <= 97


def test_a_data_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LocalError, match=r"can't be written .*--data-dir") as caught:
        DataDir.at(file / "data").prepare()
    assert "\n" not in str(caught.value)


def test_prepare_makes_what_it_needs_and_leaves_no_probe(tmp_path: Path) -> None:
    data_dir = DataDir.at(tmp_path / "data")
    data_dir.prepare()
    data_dir.prepare()
    assert sorted(path.name for path in data_dir.root.iterdir()) == ["logs", "users"]


def test_private_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    make_private(folder)
    make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_in_the_place_of_a_private_folder_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(LocalError, match="another user"):
        make_private(link)


def test_an_atomic_write_keeps_the_mode_and_leaves_nothing_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, "one")
    write_atomically(path, "two", mode=0o600)
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
