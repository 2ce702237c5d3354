"""Lines in and out: what goes wrong there harms nobody."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from worker_client import GUARD_S, Client

from demis_ij import __version__
from demis_ij.worker.wire import Answers, BadRequest, lines, parse, plain


def kinds(client: Client, task: str) -> list[str]:
    return [a["responseType"] for a in client.answers if a["task"] == task]


def test_a_task_is_launched_updated_and_completed_in_this_order(odd_worker):
    task = odd_worker.start("updates", {"number": 3})

    answer = odd_worker.final(task)

    assert answer == {"task": task, "responseType": "COMPLETION", "outputs": {"number": 3}}
    told = kinds(odd_worker, task)
    assert told[0] == "LAUNCH"
    assert set(told[1:-1]) == {"UPDATE"}
    assert odd_worker.of(task, "LAUNCH")[0]["info"] == {"version": __version__, "api": 1}
    assert odd_worker.of(task, "UPDATE")[-1] == {
        "task": task, "responseType": "UPDATE", "message": "counting", "current": 3, "maximum": 3,
    }  # fmt: skip


def test_of_many_updates_at_most_ten_a_second_go_out_and_the_last_one_always(odd_worker):
    task = odd_worker.start("updates", {"number": 300, "pause_s": 0.01})

    odd_worker.final(task)

    when = [t for a, t in zip(odd_worker.answers, odd_worker.times, strict=True)
            if a["task"] == task and a["responseType"] == "UPDATE"]  # fmt: skip
    sent = odd_worker.of(task, "UPDATE")
    assert 5 <= len(sent) < 60
    assert sent[-1]["current"] == 300
    assert kinds(odd_worker, task)[-2:] == ["UPDATE", "COMPLETION"]
    assert max(sum(start <= t < start + 1 for t in when) for start in when) <= 10 + 1  # one may be late in the pipe


def test_ten_thousand_updates_without_a_pause_are_a_handful_of_lines(odd_worker):
    task = odd_worker.start("updates", {"number": 10_000})

    odd_worker.final(task)

    sent = odd_worker.of(task, "UPDATE")
    assert sent[-1]["current"] == 10_000
    assert len(sent) < 50


def test_what_anybody_prints_cannot_damage_the_protocol(own_worker):
    outputs = own_worker.done("prints")
    own_worker.leave()

    assert outputs == {"input": ""}  # nor can anybody read the requests
    assert own_worker.invalid == []
    assert [a["task"] for a in own_worker.answers] == ["task 1"] * len(own_worker.answers)
    said = "\n".join(own_worker.errors)
    assert "from Python" in said
    assert "from os.write" in said
    if os.name != "nt":
        assert "from C" in said
        assert "from a child" in said


@pytest.mark.skipif(os.name == "nt", reason="the shell that closes a pipe is not on Windows")
@pytest.mark.parametrize(("closed", "code", "answers"), [("2>&-", 0, 1), ("<&-", 2, 0), (">&-", 2, 0)])
def test_a_process_without_all_its_pipes_talks_or_says_that_it_cannot(closed, code, answers):
    command = f"exec {shlex.quote(sys.executable)} -u -m demis_ij.worker {closed}"
    request = b'{"task": "a", "requestType": "EXECUTE", "script": "align"}\n'

    process = subprocess.Popen(
        command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with suppress(BrokenPipeError):
        process.stdin.write(request)
        process.stdin.flush()
    found = [process.stdout.readline() for _ in range(2 * answers)]
    with suppress(BrokenPipeError):
        process.stdin.close()
    said = process.stderr.read()
    assert process.wait(GUARD_S) == code
    process.stdout.close()
    process.stderr.close()

    assert [json.loads(line)["responseType"] for line in found] == ["LAUNCH", "FAILURE"] * answers
    assert (b"no standard input and output to talk over" in said) == (code == 2)


def test_a_client_that_does_not_read_holds_up_nothing_and_gets_every_final_answer(tmp_path):
    requests, replies = os.pipe(), os.pipe()
    broken = threading.Event()
    answers = Answers(replies[1], broken.set)
    for n in range(200):
        assert answers.expect(str(n))
        answers.launch(str(n))
        for k in range(100):
            answers.update(str(n), "x" * 1000, k, 100)
        answers.finish(str(n), "COMPLETION", outputs={"text": "y" * 1000})  # 400 kB altogether: no pipe holds them

    found = bytearray()
    reader = threading.Thread(target=lambda: found.extend(read_all(replies[0])))
    reader.start()
    answers.close(timeout_s=60)
    os.close(replies[1])
    reader.join(60)

    told = [json.loads(line) for line in found.splitlines()]
    finals = [a["task"] for a in told if a["responseType"] == "COMPLETION"]
    assert finals == [str(n) for n in range(200)]
    assert [a["current"] for a in told if a["responseType"] == "UPDATE"] == [99] * 200  # each task's last
    assert not broken.is_set()
    for pipe in (*requests, replies[0]):
        os.close(pipe)


def read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_after_its_final_answer_nothing_of_a_task_is_sent(tmp_path):
    path = tmp_path / "answers"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    answers = Answers(descriptor, lambda: None)
    assert answers.expect("a")
    answers.update("a", "before", 1, 2)

    assert answers.finish("a", "CANCELATION")
    answers.update("a", "after", 2, 2)
    answers.launch("a")
    assert not answers.finish("a", "COMPLETION", outputs={})
    answers.close(timeout_s=60)

    os.close(descriptor)
    told = [json.loads(line)["responseType"] for line in path.read_text().splitlines()]
    assert told[-1] == "CANCELATION"
    assert told in (["CANCELATION"], ["UPDATE", "CANCELATION"])


def test_a_pipe_that_nobody_reads_any_more_is_noticed():
    replies = os.pipe()
    os.close(replies[0])
    broken = threading.Event()
    answers = Answers(replies[1], broken.set)

    answers.expect("a")
    answers.launch("a")

    assert broken.wait(60)
    os.close(replies[1])


NO_REQUESTS = {
    b"hello": None,
    b"{": None,
    b"\xff\xfe": None,
    b"[1, 2]": None,
    b'"EXECUTE"': None,
    b"{}": None,
    b'{"task": 5, "requestType": "EXECUTE", "script": "check"}': None,
    b'{"task": "", "requestType": "EXECUTE", "script": "check"}': None,
    b"[" * 100_000: None,
    b'{"task": "a"}': "a",
    b'{"task": "a", "requestType": "execute", "script": "check"}': "a",
    b'{"task": "a", "requestType": "EXECUTE"}': "a",
    b'{"task": "a", "requestType": "EXECUTE", "script": " "}': "a",
    b'{"task": "a", "requestType": "EXECUTE", "script": ["check"]}': "a",
    b'{"task": "a", "requestType": "EXECUTE", "script": "check", "inputs": [1]}': "a",
}


@pytest.mark.parametrize("line", NO_REQUESTS, ids=lambda line: line[:60].decode("ascii", "replace"))
def test_a_line_that_is_no_request_says_why_and_whom_it_concerns(line):
    with pytest.raises(BadRequest) as caught:
        parse(line)

    assert caught.value.task == NO_REQUESTS[line]
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_lines_that_are_no_requests_end_nothing_and_are_answered_where_somebody_waits(own_worker):
    for line in NO_REQUESTS:
        own_worker.write(line)
    own_worker.write(b"")
    own_worker.write(b'\xef\xbb\xbf{"task": "b", "requestType": "EXECUTE", "script": "numbers", "queue": null}\r')

    assert own_worker.final("b")["responseType"] == "COMPLETION"

    failed = own_worker.of("a", "FAILURE")
    assert len(failed) == sum(task == "a" for task in NO_REQUESTS.values())
    assert "script" in failed[-2]["error"]
    assert own_worker.leave() == 0
    assert sum(line.startswith("demis_ij.worker: ") for line in own_worker.errors) >= len(NO_REQUESTS)


def test_two_tasks_of_one_name_at_a_time_are_one(own_worker):
    own_worker.start("sleeps", {"seconds": 0.5}, task="twin")
    own_worker.start("numbers", task="twin")

    answer = own_worker.final("twin")
    again = own_worker.start("numbers", task="twin")

    assert answer["outputs"] == {}
    assert own_worker.final(again)["outputs"]["3"] is True  # a name may be used again


def test_numbers_that_json_does_not_have_are_null(odd_worker):
    found = odd_worker.done("numbers")

    assert found["nan"] is None
    assert found["np"] == 0.5
    assert found["list"] == [1, [1.0, None]]
    assert found["path"].endswith("b")
    assert "cannot be written as JSON" in odd_worker.refused("no json")
    assert plain({"a": (1, 2.5, None, "x", True)}) == {"a": [1, 2.5, None, "x", True]}


def test_a_line_without_end_is_given_up_and_the_next_one_counts(capfd):
    requests = os.pipe()

    def write() -> None:
        for part in (b"first\n", b"x" * 5000, b"y" * 5000, b"\nsecond\n", b"third"):
            os.write(requests[1], part)
            time.sleep(0.01)
        os.close(requests[1])

    threading.Thread(target=write).start()

    assert list(lines(requests[0], longest=1000)) == [b"first", b"second"]
    assert "more than 1000 bytes" in capfd.readouterr().err
    os.close(requests[0])
