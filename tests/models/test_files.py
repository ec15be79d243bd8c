"""Directories that appear whole: there is always one, and nothing is left of killed writers."""

import os
import subprocess
import sys
import threading

import pytest

from models import files
from models.files import new_directory


def write(path, text):
    with new_directory(path) as directory:
        (directory / "text").write_text(text)


def names(directory):
    return sorted(each.name for each in directory.iterdir())


@pytest.fixture(params=["exchanged", "moved aside"])
def way(request, monkeypatch):
    """Both ways of putting a directory in place of another."""
    if request.param == "moved aside":
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    return request.param


def test_a_directory_replaces_another_and_leaves_nothing_behind(tmp_path, way):
    for text in ("old", "new"):
        write(tmp_path / "it", text)
        assert (tmp_path / "it" / "text").read_text() == text
        assert names(tmp_path) == ["it"]


def test_a_failed_writer_leaves_what_was_there(tmp_path, way):
    write(tmp_path / "it", "old")

    def fail():
        with new_directory(tmp_path / "it") as directory:
            (directory / "text").write_text("new")
            raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"):
        fail()
    assert (tmp_path / "it" / "text").read_text() == "old"
    assert names(tmp_path) == ["it"]


def test_a_link_is_replaced_and_what_it_led_to_stays(tmp_path, way):
    write(tmp_path / "elsewhere", "old")
    (tmp_path / "it").symlink_to(tmp_path / "elsewhere")
    write(tmp_path / "it", "new")
    assert (tmp_path / "it" / "text").read_text() == "new"
    assert (tmp_path / "elsewhere" / "text").read_text() == "old"
    assert names(tmp_path) == ["elsewhere", "it"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges names")
def test_a_reader_always_finds_a_directory(tmp_path):
    write(tmp_path / "it", "0")
    missing, over = [], threading.Event()

    def look():
        while not over.is_set():
            if not os.path.lexists(tmp_path / "it"):
                missing.append(True)

    reader = threading.Thread(target=look)
    reader.start()
    for index in range(200):
        write(tmp_path / "it", str(index))
    over.set()
    reader.join()
    assert not missing


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from models.files import new_directory\n"
        "with new_directory(Path(sys.argv[1])) as directory:\n"
        "    (directory / 'half').write_text('')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for name in ("it", "other"):
        subprocess.run([sys.executable, "-c", script, tmp_path / name], check=False)
    (tmp_path / ".it.precious").mkdir()
    (tmp_path / ".it.abcdefgh.old").mkdir()
    left = names(tmp_path)
    assert len(left) == 4
    write(tmp_path / "it", "new")
    # Until there is a new directory, one that was moved aside may be the only whole one.
    assert [name for name in names(tmp_path) if name.startswith(".it")] == [
        ".it.abcdefgh.old",
        ".it.precious",
    ]
    write(tmp_path / "it", "newer")
    others = [name for name in left if name.startswith(".other")]
    assert names(tmp_path) == sorted([".it.precious", "it", *others])


def test_a_writer_that_lives_is_left_alone(tmp_path):
    with new_directory(tmp_path / "it") as first:
        (first / "text").write_text("first")
        write(tmp_path / "it", "second")
        assert (first / "text").read_text() == "first"
    assert (tmp_path / "it" / "text").read_text() == "first"
    assert names(tmp_path) == ["it"]


def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_flock", lambda descriptor, how: False)
    (tmp_path / ".it.abcdefgh.new").mkdir()
    write(tmp_path / "it", "new")
    assert names(tmp_path) == [".it.abcdefgh.new", "it"]
