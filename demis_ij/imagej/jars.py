"""The jars of the embedded ImageJ: which, where they are kept, and fetching them once.

They come from Maven Central, in the versions of a Fiji of 2026, and are known by their SHA-256. They are kept where
Maven keeps its own (``~/.m2/repository``), so that a second start needs no network. Nothing here loads Java.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demis_ij.errors import InputError

FETCH_REMEDY = (
    "run `demis-ij imagej fetch` once where there is a network (on another machine: copy its ~/.m2/repository here), "
    "or give a Fiji folder with mode='pyimagej'"
)


@dataclass(frozen=True)
class Jar:
    """One jar of Maven Central.

    Attributes
    ----------
    group, artifact, version : str
        Its Maven coordinates.
    sha256 : str
        Hex digest of the file.
    """

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """``group:artifact:version``."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def relative_path(self) -> Path:
        """Where the jar lies below a Maven repository."""
        folder = Path(*self.group.split("."), self.artifact, self.version)
        return folder / f"{self.artifact}-{self.version}.jar"


IMAGEJ = (
    Jar("net.imagej", "ij", "1.54p", "2e1a09961dfb41cee66ddc821b2577a41a072566ce45a49bae69267099741e20"),
    Jar("net.imagej", "ij1-patcher", "2.0.0", "b68810263f9521ddb34bac272816613ebb71607775c1fc337079a0476c2b581a"),
    Jar("org.javassist", "javassist", "3.30.2-GA", "eba37290994b5e4868f3af98ff113f6244a6b099385d9ad46881307d3cb01aaf"),
    Jar("org.scijava", "scijava-common", "2.100.1", "af53bb31087dd46bfe15645c8b7cc69fe837795516816c60f5be78b9ff0ce6a3"),
    Jar("org.scijava", "parsington", "3.1.0", "7943c91a1e62918ea47d0a08f6b5989a8b388e019216441002236528f769c72a"),
    Jar("io.github.classgraph", "classgraph", "4.8.162",
        "ea30b2d5e29e89d52706bcecf7a6ae3b44682d4a1566a5f22b9453f9be2a970c"),
)  # fmt: skip
"""ImageJ, the patch that lets it run without a screen, and SciJava with what it needs."""

GROOVY = {
    4: (
        Jar("org.apache.groovy", "groovy", "4.0.28",
            "d77164a44ab994837e61eecead64721bdb1794fa2bc6704ac6fe70cd32ef9dd3"),
        Jar("org.apache.groovy", "groovy-jsr223", "4.0.28",
            "21a825951142f938e4159cdafc8c56cb5ea2c95f64a0ef362e32311bb3692c7d"),
        Jar("org.apache.groovy", "groovy-json", "4.0.28",
            "edec45c85ff811f9a9baacdf5b020e34593a0055ac63c92fbf1233c3b2cc9cc6"),
    ),
    3: (
        Jar("org.codehaus.groovy", "groovy", "3.0.23",
            "ecf081f7e30cf37beda1a702390dd22124013e4c9307117dd107806c112ab9f7"),
        Jar("org.codehaus.groovy", "groovy-jsr223", "3.0.23",
            "1a021f829129636fe5989d43ac4282fb3c72b23422a1e4c5d2088f31e9cc3d72"),
        Jar("org.codehaus.groovy", "groovy-json", "3.0.23",
            "6f263ef4661de0ca76e819264fe57d85528d2fb7d2386dd5518f83a143035580"),
    ),
}  # fmt: skip
"""The script language of Fiji's menu: Groovy 4 as Fiji of Java 21 has it, Groovy 3 as older ones do."""


def jars_of(groovy: int = 4) -> tuple[Jar, ...]:
    """Return every jar of the embedded ImageJ with Groovy 4 or Groovy 3."""
    if groovy not in GROOVY:
        msg = f"Groovy {groovy} is not offered: 4 (Java 11 to 24) or 3 (Java 11 to 17)"
        raise InputError(msg)
    return (*IMAGEJ, *GROOVY[groovy])


def repository() -> Path:
    """Return the folder that keeps the jars: Maven's own."""
    return Path.home() / ".m2" / "repository"


def missing(jars: Sequence[Jar], folder: Path | None = None) -> list[Jar]:
    """Return the jars that are not there, or are there damaged."""
    root = folder or repository()
    return [jar for jar in jars if not _intact(jar, root / jar.relative_path)]


def fetch(jars: Sequence[Jar], folder: Path | None = None) -> list[Path]:
    """Return where the jars lie, after fetching those that are not there yet.

    Parameters
    ----------
    jars : sequence of Jar
        What is needed.
    folder : Path, optional
        A Maven repository; by default the user's own.

    Returns
    -------
    list of Path
        One file a jar, in order, each with the SHA-256 it should have.

    Raises
    ------
    InputError
        A jar is not there and cannot be fetched, or what came is not what was expected.
    """
    root = folder or repository()
    wanted = missing(jars, root)
    if wanted:
        with tempfile.TemporaryDirectory() as scratch:
            for jar in wanted:
                _fetch_one(jar, root / jar.relative_path, Path(scratch))
    return [root / jar.relative_path for jar in jars]


def resolve(endpoints: Sequence[str]) -> list[Path]:
    """Return the jars of Maven endpoints (``group:artifact:version``) with all that they need, by jgo.

    Raises
    ------
    InputError
        An endpoint cannot be resolved.
    """
    import jgo

    paths: list[Path] = []
    for endpoint in endpoints:
        try:
            environment = jgo.build(endpoint)
        except (RuntimeError, ValueError, OSError) as error:
            msg = (
                f"cannot fetch {endpoint} from Maven Central ({_first_line(error)}): check its name, or {FETCH_REMEDY}"
            )
            raise InputError(msg) from error
        paths += [p for p in environment.all_jars if p not in paths]
    return paths


def _fetch_one(jar: Jar, target: Path, scratch: Path) -> None:
    from jgo.maven import MavenContext

    try:
        component = MavenContext(repo_cache=scratch).project(jar.group, jar.artifact).at_version(jar.version)
        found = Path(component.artifact().resolve())
    except (RuntimeError, OSError) as error:  # requests' errors are OSErrors
        msg = f"{jar.coordinates} is not on this machine and cannot be fetched ({type(error).__name__}): {FETCH_REMEDY}"
        raise InputError(msg) from error
    if not _intact(jar, found):
        msg = (
            f"what was fetched as {jar.coordinates} is not that jar (its SHA-256 differs): try again, or {FETCH_REMEDY}"
        )
        raise InputError(msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.{os.getpid()}.part")
    fresh.write_bytes(found.read_bytes())
    fresh.replace(target)


def _intact(jar: Jar, path: Path) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == jar.sha256


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
