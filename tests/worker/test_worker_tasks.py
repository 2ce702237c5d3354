"""Tasks end as they should: done, cancelled, failed, or with the client."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from worker_client import GUARD_S, HERE, Client

from demis_ij.runs import MatchStore
from demis_ij.worker.tasks import Tell

ON_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="Windows interrupts no wait for a lock")


@pytest.mark.parametrize("verb", ["spins", "sleeps", pytest.param("waits", marks=ON_WINDOWS), "swallows"])
def test_a_running_task_is_cancelled_wherever_it_is(odd_worker, verb):
    task = odd_worker.start(verb)
    odd_worker.until(task, "UPDATE")

    odd_worker.cancel(task)

    assert odd_worker.final(task) == {"task": task, "responseType": "CANCELATION"}
    assert odd_worker.done("numbers")["np"] == 0.5
    assert odd_worker.answers[-1]["task"] != task


def test_a_cancelled_task_tidies_up_in_peace(odd_worker, tmp_path):
    file = tmp_path / "tidy"
    task = odd_worker.start("sleeps", {"file": file})
    odd_worker.until(task, "UPDATE")

    odd_worker.cancel(task)
    odd_worker.cancel(task)  # twice does no harm
    odd_worker.final(task)
    odd_worker.done("numbers")

    assert file.read_text() == "tidy"


def test_what_cannot_be_interrupted_is_answered_for_and_the_next_task_waits_for_its_end(odd_worker, tmp_path):
    file = tmp_path / "deaf"
    task = odd_worker.start("deaf", {"seconds": 4, "file": file})
    odd_worker.until(task, "UPDATE")
    time.sleep(0.3)  # into the long call

    odd_worker.cancel(task)
    odd_worker.final(task)
    deaf_still = not file.exists()
    odd_worker.done("numbers")

    assert deaf_still
    assert file.exists()  # the next task came after it
    assert [a["responseType"] for a in odd_worker.answers if a["task"] == task][-1] == "CANCELATION"


def test_a_package_that_is_being_imported_is_imported_to_its_end(odd_worker, tmp_path):
    """Torch, cut off in the middle, cannot be imported again by the same process."""
    file = tmp_path / "a_slow_package.py"
    file.write_text(
        "import time, pathlib\n"
        "for _ in range(30):\n"
        "    time.sleep(0.05)\n"
        "pathlib.Path(__file__).with_suffix('.done').touch()\n"
    )
    task = odd_worker.start("imports", {"file": file})
    odd_worker.until(task, "UPDATE")
    time.sleep(0.2)

    odd_worker.cancel(task)
    odd_worker.final(task)
    odd_worker.done("numbers")  # comes after what is left of the first one

    assert file.with_suffix(".done").exists()


def test_a_waiting_task_is_cancelled_at_once_and_never_launched(odd_worker):
    first = odd_worker.start("sleeps")
    odd_worker.until(first, "UPDATE")
    second = odd_worker.start("numbers")
    third = odd_worker.start("numbers")

    odd_worker.cancel(second)
    answer = odd_worker.final(second)

    assert answer["responseType"] == "CANCELATION"
    assert odd_worker.of(third, "LAUNCH") == []  # it waits: the first one is still at work
    odd_worker.cancel(first)
    assert odd_worker.final(third)["responseType"] == "COMPLETION"
    assert odd_worker.of(second, "LAUNCH") == []


def test_cancelling_what_is_not_there_does_nothing(odd_worker):
    done = odd_worker.start("numbers")
    odd_worker.final(done)

    odd_worker.cancel(done)
    odd_worker.cancel("never heard of")

    assert odd_worker.done("numbers")["np"] == 0.5
    assert len(odd_worker.of(done, "CANCELATION")) == 0


def test_many_cancels_at_any_moment_leave_the_worker_whole(odd_worker):
    """Each at another moment of a short task, also before it begins and after it has ended."""
    answers = []
    for n in range(60):
        task = odd_worker.start("updates", {"number": 20, "pause_s": 0.001})
        time.sleep(n * 0.0008)
        odd_worker.cancel(task)
        answers.append(odd_worker.final(task)["responseType"])

    assert set(answers) <= {"CANCELATION", "COMPLETION"}
    assert "CANCELATION" in answers
    assert odd_worker.done("updates", {"number": 5}) == {"number": 5}
    finals = [a for a in odd_worker.answers if a["responseType"] in {"CANCELATION", "COMPLETION", "FAILURE"}]
    assert len({a["task"] for a in finals}) == len(finals)  # one final answer each


SENTENCES = {
    "input": "two lines with images_only and 5 -- 6",
    "value": "internal error, please report it: ValueError: what is this",
    "silent": "internal error, please report it: ZeroDivisionError: ZeroDivisionError",
    "memory": "there is not enough memory for this",
    "disk": "the disk is full (/full/file); what is done is kept",
    "denied": "Permission denied: /secret",
    "exit": "internal error, please report it: SystemExit: 7",
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_a_failure_is_one_sentence_and_a_traceback(odd_worker, kind):
    assert odd_worker.refused("fails", {"kind": kind}).startswith(SENTENCES[kind])
    assert odd_worker.done("numbers")["np"] == 0.5


def test_a_crash_is_the_end_of_the_answers_with_a_word_on_where(own_worker):
    own_worker.start("crashes")

    while own_worker.next():
        pass

    assert own_worker.ended() != 0
    assert not [a for a in own_worker.answers if a["responseType"] != "LAUNCH"]
    assert "made_up_verbs.py" in "\n".join(own_worker.errors)  # faulthandler's


@pytest.mark.parametrize("verb", ["sleeps", "spins", "deaf"])
def test_a_worker_ends_when_its_client_closes_the_pipe(own_worker, tmp_path, verb):
    task = own_worker.start(verb, {"seconds": 600, "file": tmp_path / "x"} if verb == "deaf" else {})
    waiting = own_worker.start("numbers")
    own_worker.until(task, "UPDATE")
    time.sleep(0.3)  # into the long call

    assert own_worker.leave() == 0

    assert own_worker.of(task, "CANCELATION")
    assert own_worker.of(waiting, "CANCELATION")


def test_a_worker_ends_when_nobody_reads_its_answers_any_more():
    process = subprocess.Popen(
        [sys.executable, "-u", str(HERE / "made_up_verbs.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.close()
    process.stdin.write(b'{"task": "a", "requestType": "EXECUTE", "script": "sleeps"}\n')
    process.stdin.flush()

    assert process.wait(GUARD_S) == 0
    process.stdin.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a killed process of Windows says nothing of its children")
def test_a_worker_whose_client_was_killed_is_no_orphan(tmp_path):
    code = (
        "import subprocess, sys, os, signal\n"
        f"p = subprocess.Popen([sys.executable, '-u', {str(HERE / 'made_up_verbs.py')!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        'p.stdin.write(b\'{"task": "a", "requestType": "EXECUTE", "script": "spins"}\\n\'); p.stdin.flush()\n'
        "p.stdout.readline(); p.stdout.readline()\n"
        "print(p.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    client = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=GUARD_S, check=False)
    assert client.returncode == -signal.SIGKILL
    worker = int(client.stdout)

    deadline = time.monotonic() + GUARD_S
    while time.monotonic() < deadline and alive(worker):
        time.sleep(0.05)

    assert not alive(worker)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal on Windows")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 0)])
def test_a_signal_from_outside_ends_the_worker_without_a_traceback(own_worker, tmp_path, number, code):
    task = own_worker.start("sleeps", {"file": tmp_path / "x"})
    own_worker.until(task, "UPDATE")

    own_worker.process.send_signal(getattr(signal, number))

    assert own_worker.ended() == code
    assert (tmp_path / "x").read_text() == "tidy"
    assert not [line for line in own_worker.errors if "Traceback" in line]


def test_a_cancelled_stitch_goes_on_from_there_and_the_weights_are_loaded_once_for_all(larger, tmp_path):
    asked = {"layout": larger / "project.xml", "matcher": "loftr", "project_out": tmp_path / "solved"}
    client = Client(made_up=True, words=("--count-loading", "--hold-after-first-batch"))
    try:
        task = client.start("stitch", {**asked, "out": tmp_path / "run"})
        matches = tmp_path / "run" / "matches" / "0"
        while not list(matches.glob("*.parquet")) and client.process.poll() is None:
            time.sleep(0.01)
        client.cancel(task)
        assert client.final(task)["responseType"] == "CANCELATION"
        kept = MatchStore(matches).columns().num_rows
        again = client.done("stitch", {**asked, "out": tmp_path / "run"})
        straight = client.done("stitch", {**asked, "out": tmp_path / "straight"})
        loaded = client.done("loads")["loaded"]
    finally:
        client.kill()

    assert kept == 8  # a batch of 24 pairs
    assert again["summary"]["resumed"] is True
    assert straight["summary"]["resumed"] is False
    tiles = [json.loads((tmp_path / name / "solution.json").read_bytes())["tiles"] for name in ("run", "straight")]
    assert tiles[0] == tiles[1]
    assert not [p for p in (tmp_path / "run").rglob("*") if "part" in p.name]
    assert loaded == ["shipped"]


def test_an_environment_without_utf8_changes_nothing(scene, monkeypatch):
    for name in ("PYTHONUTF8", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(os.environ, "LC_ALL", "C")
    monkeypatch.setitem(os.environ, "PYTHONCOERCECLOCALE", "0")
    client = Client()
    try:
        found = client.done("plan", {"layout": scene / "project.xml"})
    finally:
        client.kill()

    assert found["out"] == str(scene / "project.demis")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal on Windows")
def test_an_interruption_never_strikes_between_a_lock_and_what_opens_it_again(odd_worker):
    """Each task spends all its time in locks of Python's own kind; one left closed would stop it for ever."""
    for n in range(40):
        task = odd_worker.start("locks")
        odd_worker.until(task, "UPDATE")
        time.sleep(0.001 * (n % 7))
        odd_worker.cancel(task)
        odd_worker.final(task)

    assert odd_worker.done("numbers")["np"] == 0.5
    assert odd_worker.done("lock state") == {"open": True}


def test_messages_name_section_and_matcher_once():
    said = []
    tell = Tell(lambda message, done, total: said.append((message, done, total)))

    tell("loftr", 0, 4)
    tell.prefix = "section 3: "
    tell("loftr, searching wider", 1, 4)
    tell("render", 2, 4)
    tell.prefix = "sift: "
    tell("sift", 3, 4)

    assert said == [
        ("loftr: pairs", 0, 4),
        ("section 3: loftr, searching wider: pairs", 1, 4),
        ("section 3: render", 2, 4),
        ("sift: pairs", 3, 4),
    ]


@pytest.mark.parametrize("verb", ["spins", "sleeps"])
def test_where_ctrl_c_is_the_only_signal_there_is_it_serves_for_both(verb):
    """As on Windows."""
    client = Client(made_up=True, words=("--one-signal",))
    try:
        task = client.start(verb)
        client.until(task, "UPDATE")
        client.cancel(task)
        assert client.final(task)["responseType"] == "CANCELATION"
        assert client.done("numbers")["np"] == 0.5
        if sys.platform != "win32":
            time.sleep(1.2)  # it is nobody's but the terminal's then
            client.process.send_signal(signal.SIGINT)
            assert client.ended() == 130
    finally:
        client.kill()
