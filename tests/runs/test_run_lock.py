"""A run folder has one process at work in it; one that was killed is in nobody's way."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading

import pytest

from demis_ij.errors import InputError
from demis_ij.runs import lock, occupant, occupied

HOLDS = """
import sys, time
from pathlib import Path
from demis_ij.runs import occupied
with occupied(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
    """Return a process that works in a run folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.communicate()


def killed(process):
    process.kill()
    process.wait()


def written(folder, **said):
    """Write a lock file that nobody holds."""
    folder.mkdir()
    (folder / ".lock").write_text(json.dumps({"pid": 1, "host": "node9", "since": "2030-01-01 10:00:00", **said}))
    return folder / ".lock"


def a_dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_process_that_is_at_work_is_named(other, tmp_path):
    run = tmp_path / "run"
    who = rf"process {other.pid} on {socket.gethostname()} works there "
    said = rf"^output folder {re.escape(str(run))} is in use: {who}"
    with pytest.raises(InputError, match=said + r"since \d{4}-\S+ \S+\. Wait until it ends, or end it$"), occupied(run):
        pass
    assert f"process {other.pid} " in occupant(run)
    assert (run / ".lock").exists()


def test_a_process_that_was_killed_is_in_nobodys_way(other, tmp_path):
    run = tmp_path / "run"
    killed(other)
    assert (run / ".lock").exists()
    assert occupant(run) == ""
    with occupied(run):
        assert json.loads((run / ".lock").read_text())["pid"] == os.getpid()
    assert list(run.iterdir()) == []


def test_a_thread_may_enter_again_and_another_one_may_not(tmp_path):
    found = []

    def enter():
        try:
            with occupied(tmp_path / "run"):
                found.append("in")
        except InputError as error:
            found.append(str(error))

    with occupied(tmp_path / "run"):
        with occupied(tmp_path / "run"):
            pass
        assert (tmp_path / "run" / ".lock").exists()
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
    enter()
    assert f"process {os.getpid()} " in found[0]
    assert found[1:] == ["in"]


def test_a_folder_stays_when_something_is_in_it_and_its_lock_does_not(tmp_path):
    with occupied(tmp_path / "a" / "run"):
        (tmp_path / "a" / "run" / "x").touch()
    assert [p.name for p in (tmp_path / "a" / "run").iterdir()] == ["x"]
    with pytest.raises(ZeroDivisionError), occupied(tmp_path / "b" / "run"):
        raise ZeroDivisionError
    assert not (tmp_path / "b").exists()


def test_another_computers_lock_on_a_shared_disk_is_never_taken(tmp_path, monkeypatch):
    file = written(tmp_path / "run")
    monkeypatch.setattr(lock, "_is_local", lambda _path: False)
    said = f"process 1 on node9 works there since 2030-01-01 10:00:00. End it there; if it is gone, delete {file}"
    with pytest.raises(InputError, match=re.escape(said)), occupied(file.parent):
        pass
    assert "node9" in occupant(file.parent)
    file.unlink()
    with occupied(file.parent):
        pass


def test_on_a_disk_of_this_computer_a_lock_that_nobody_holds_is_nobodys(tmp_path, monkeypatch):
    file = written(tmp_path / "run")
    monkeypatch.setattr(lock, "_is_local", lambda _path: True)
    assert occupant(file.parent) == ""
    with occupied(file.parent):
        pass
    assert not file.exists()


def test_where_the_disk_knows_no_locks_the_process_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_hold", lambda _handle: None)
    monkeypatch.setattr(lock, "SETTLES_S", 0)
    here = socket.gethostname()
    file = written(tmp_path / "run", host=here, pid=os.getppid())
    with pytest.raises(InputError, match=f"process {os.getppid()} on {here}"), occupied(file.parent):
        pass
    file.write_text(json.dumps({"host": here, "pid": a_dead_pid()}))
    with occupied(file.parent):
        pass
    assert not file.exists()


def test_two_that_sign_at_one_moment_do_not_both_get_in(tmp_path, monkeypatch):
    run = tmp_path / "run"

    def other_signs(_seconds):
        (run / ".lock").write_text(json.dumps({"host": socket.gethostname(), "pid": 1}))

    monkeypatch.setattr(lock, "_hold", lambda _handle: None)
    monkeypatch.setattr(lock.time, "sleep", other_signs)
    with pytest.raises(InputError, match="is in use: process 1 on "), occupied(run):
        pass


def test_who_only_asks_is_in_nobodys_way(tmp_path, monkeypatch):
    file = written(tmp_path / "run", host=socket.gethostname(), pid=a_dead_pid())
    waited = []

    def ends(seconds):
        waited.append(seconds)
        os.close(asking)

    asking = os.open(file, os.O_RDWR)
    assert lock._hold(asking)
    monkeypatch.setattr(lock.time, "sleep", ends)
    with occupied(file.parent):
        pass
    assert waited == [lock.LOOKS_APART_S]


def test_another_process_that_came_after_the_lock_was_deleted_keeps_its_own(tmp_path):
    run = tmp_path / "run"
    with occupied(run):
        (run / "x").touch()
        (run / ".lock").unlink()  # as somebody may do who believes that nobody is at work
        process = subprocess.Popen([sys.executable, "-c", HOLDS, str(run)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "in\n"
    try:
        assert (run / ".lock").exists()
        with pytest.raises(InputError, match=f"process {process.pid} "), occupied(run):
            pass
    finally:
        process.kill()
        process.communicate()


FORKS = """
import os, sys
from pathlib import Path
from demis_ij.errors import InputError
from demis_ij.runs import occupied
run = Path(sys.argv[1])
with occupied(run):
    child = os.fork()
    if not child:
        try:
            with occupied(run):
                print("child in", flush=True)
        except InputError as error:
            print(str(error).partition(f"process {os.getppid()} ")[1], flush=True)
    else:
        os.waitpid(child, 0)
        print("lock", (run / ".lock").exists(), flush=True)
        if not os.fork():  # lives on when the parent is gone
            sys.stdin.read()
            os._exit(0)
        os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks on this system")
def test_a_forked_process_is_another_one_and_holds_nothing_of_its_parent(tmp_path):
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", FORKS, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == f"process {process.pid} \n"
        assert process.stdout.readline() == "lock True\n"
        process.wait()
        with occupied(run):  # its second child still runs
            pass
    finally:
        process.communicate()


@pytest.mark.parametrize("left", [b"", b"{", b"[1]", b"\xff" * 600])
def test_a_lock_that_was_cut_off_is_taken_over(tmp_path, left):
    file = written(tmp_path / "run")
    file.write_bytes(left)
    with occupied(file.parent):
        pass


def test_a_folder_that_cannot_be_written_is_said_to_be_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output folder .* cannot be made: "), occupied(tmp_path / "file" / "run"):
        pass


def test_disks_of_this_computer_are_known_by_their_mounts(tmp_path, monkeypatch):
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    lines = {kind: f"1 2 {number} / / rw,relatime shared:1 - {kind} /dev/x rw\n" for kind in ("ext4", "nfs4")}
    for kind, line in lines.items():
        monkeypatch.setattr(lock.Path, "read_text", lambda *_a, line=line, **_k: line)
        assert lock._is_local(tmp_path) is (kind == "ext4")
