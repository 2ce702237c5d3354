"""One ImageJ in a process: what starts it, that it needs no network, and that Python ends as it does without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from demis_ij import imagej
from demis_ij.errors import InputError
from demis_ij.imagej import ScriptFailed

NO_NETWORK = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
NO_NETWORK |= {name.lower(): value for name, value in NO_NETWORK.items()}

HELLO = "#@ String name\\n#@output String said\\nsaid = 'hello ' + name\\n"


@pytest.fixture
def fresh_python(request):
    """Start Python with some code in a process of its own, on the Java of this test run, without a network."""
    home = request.config.getoption("--java-home")
    groovy = request.config.getoption("--groovy")
    given = {"PYTHONUNBUFFERED": "1", **NO_NETWORK, **({"JAVA_HOME": home} if home else {})}

    begun: list[subprocess.Popen[str]] = []

    def begin(code: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code.replace("GROOVY", str(groovy))], env={**os.environ, **given}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.wait(timeout=60)
        process.stdout.close()
        process.stderr.close()


def test_the_public_names_are_these():
    assert imagej.__all__ == [
        "start", "Session", "Picture", "ScriptFailed", "show_layout", "show_mosaic", "show_matches",
        "Line", "Arrow", "Outline", "Points", "Label",
    ]  # fmt: skip


@pytest.mark.java
def test_a_second_start_returns_the_session_that_runs(imagej_session):
    asked = imagej_session.asked

    again = imagej.start(java_home=asked.java_home, groovy=asked.groovy, class_path=asked.class_path)

    assert again is imagej_session
    with pytest.raises(InputError, match=r"ImageJ runs already in this process.*restart Python"):
        imagej.start(java_options=["-Xmx1g"])


@pytest.mark.java
def test_a_session_says_what_runs(imagej_session):
    assert repr(imagej_session).startswith("<ImageJ 1.54p, embedded, without windows, Java ")


def test_an_unknown_mode_is_refused_before_anything_starts(tmp_path):
    code = (
        "from demis_ij import imagej\n"
        "for given in ({'mode': 'fiji'}, {'fiji': 'x'}, {'class_path': ['/not/there.jar']}, {'mode': 'pyimagej'}):\n"
        "    try: imagej.start(**given)\n"
        "    except ValueError as error: print(error)\n"
        "import jpype; print(jpype.isJVMStarted())\n"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True).stdout

    mode, fiji, path, unnamed, started = said.splitlines()
    assert mode == "mode 'fiji' is not known: 'embedded' or 'pyimagej'"
    assert "needs no Fiji" in fiji
    assert "there is nothing at /not/there.jar" in path
    assert "needs fiji=" in unnamed
    assert started == "False"


@pytest.mark.java
def test_every_thread_may_call(imagej_session):
    said, pictures = [], []

    def work(number: int) -> None:
        said.append(imagej_session.run_script(HELLO.replace("\\n", "\n"), {"name": str(number)})["said"])
        pictures.append(imagej_session.to_imageplus(np.full((20, 30), number, np.uint8)).to_numpy())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(said) == [f"hello {n}" for n in range(4)]
    assert sorted(int(p.max()) for p in pictures) == [0, 1, 2, 3]


@pytest.mark.java
def test_classes_of_a_folder_that_is_added_can_be_imported(imagej_session, tmp_path):
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "Greeter.groovy").write_text(
        "package added\nclass Greeter { static String greet() { 'from a folder' } }\n", encoding="utf-8"
    )

    with pytest.raises(ScriptFailed, match=r"unable to resolve class added\.Greeter"):
        imagej_session.run_script("#@output String x\nimport added.Greeter\nx = Greeter.greet()\n")
    imagej_session.add_class_path(tmp_path)

    outputs = imagej_session.run_script("#@output String x\nimport added.Greeter\nx = Greeter.greet()\n")
    assert outputs == {"x": "from a folder"}
    with pytest.raises(InputError, match="there is nothing at"):
        imagej_session.add_class_path(tmp_path / "nothing.jar")


@pytest.mark.java
def test_a_macro_runs_without_a_screen_and_its_error_raises(imagej_session, tmp_path):
    macro = tmp_path / "blur.ijm"
    macro.write_text(
        'newImage("ramp", "8-bit ramp", 64, 8, 1); run("Gaussian Blur...", "sigma=2");'
        'getStatistics(area, mean); close(); return getArgument() + round(mean);',
        encoding="utf-8",
    )  # fmt: skip

    assert imagej_session.run_macro(macro, "mean ") == "mean 126"
    with pytest.raises(ScriptFailed, match="Undefined variable"):
        imagej_session.run_macro("a = b + 1;")
    with pytest.raises(InputError, match="there is no macro"):
        imagej_session.run_macro(tmp_path / "nothing.ijm")


@pytest.mark.java
def test_started_by_a_thread_that_ends_python_still_ends_with_its_own_code(fresh_python):
    code = f"""
import sys, threading
from demis_ij import imagej
def work():
    session = imagej.start(groovy=GROOVY, java_options=["-XX:TieredStopAtLevel=1"])
    print(session.run_script("{HELLO}", {{"name": "thread"}})["said"])
worker = threading.Thread(target=work)
worker.start(); worker.join()
from demis_ij.imagej.session import running_or_started
print(running_or_started().run_script("{HELLO}", {{"name": "main"}})["said"])
print(running_or_started().run_macro("return 'macro';"))
print(list(sys.modules).index("torch") < list(sys.modules).index("jpype"))
sys.exit(3)
"""

    process = fresh_python(code)
    said, complained = process.communicate(timeout=120)

    assert said.split("\n")[:4] == ["hello thread", "hello main", "macro", "True"], complained
    assert process.returncode == 3


@pytest.mark.java
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_stops_a_script_and_terminate_ends_the_process(fresh_python):
    code = f"""
import time
from demis_ij import imagej
session = imagej.start(groovy=GROOVY, java_options=["-XX:TieredStopAtLevel=1"])
print("ready")
try:
    session.run_script("#@output String x\\nThread.sleep(60000)\\n")
except KeyboardInterrupt:
    print("stopped")
print(session.run_script("{HELLO}", {{"name": "again"}})["said"])
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("awake")
time.sleep(60)
"""
    process = fresh_python(code)
    steps = []
    guard = threading.Timer(120, process.kill)
    guard.start()
    for line in process.stdout:
        steps.append(line.strip())
        if line.strip() in {"ready", "hello again"}:
            threading.Timer(0.7, process.send_signal, [signal.SIGINT]).start()
        if line.strip() == "awake":
            process.terminate()
            break
    code = process.wait(timeout=60)
    guard.cancel()

    assert steps == ["ready", "stopped", "hello again", "awake"]
    assert code == -signal.SIGTERM


@pytest.mark.java
def test_an_exception_ends_python_with_1_though_java_was_only_seen_by_threads_and_is_busy(fresh_python):
    code = """
import threading, time
from demis_ij import imagej
sessions = []
def begin():
    sessions.append(imagej.start(groovy=GROOVY, java_options=["-XX:TieredStopAtLevel=1"]))
    sessions[0].run_script("#@output String x\\nx = 'done'\\n")
first = threading.Thread(target=begin)
first.start(); first.join()
def work():
    sessions[0].run_script("#@output String x\\nwhile (true) Thread.sleep(10)\\n")
threading.Thread(target=work, daemon=True).start()
time.sleep(1)
raise RuntimeError("the end")
"""

    process = fresh_python(code)
    _, complained = process.communicate(timeout=120)

    assert process.returncode == 1
    assert "RuntimeError: the end" in complained
    assert "fatal error" not in complained.lower()
