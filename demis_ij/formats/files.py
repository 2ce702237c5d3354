"""Layout files on disk: bytes and text in, new files out, and where a named image really lies."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import re
import sys
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from urllib.parse import unquote

from demis_ij.errors import FormatError, InputError
from demis_ij.records import Layout

GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 1 << 16
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
CASE_BLIND = os.name == "nt" or sys.platform == "darwin"
URL = re.compile(r"(?i)(https?|ftp|s3|gs)://")


# --- in -------------------------------------------------------------------------------------------------------------


def read_raw(path: Path) -> bytes:
    """Return a file's bytes as they lie on disk. Raises `FormatError` when it cannot be read."""
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        raise FormatError(
            path, "is a folder, a layout file was needed (for a folder of tiles describe a grid)"
        ) from error
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error


def unpack(path: Path, raw: bytes) -> bytes:
    """Return ``raw``, decompressed if it is gzip (by its first bytes). Raises `FormatError` when damaged or empty."""
    if raw.startswith(GZIP_MAGIC):
        try:
            raw = gzip.decompress(raw)
        except EOFError as error:
            raise FormatError(path, "truncated gzip file: it ends before its end-of-stream marker") from error
        except (OSError, zlib.error) as error:
            raise FormatError(path, f"damaged gzip file: {error}") from error
    if not raw.strip():
        raise FormatError(path, "is empty, a layout was needed")
    return raw


def read_head(path: Path) -> bytes:
    """Return the first bytes (at most 64 KiB, decompressed) or nothing where a file cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return b""
    if head.startswith(GZIP_MAGIC):
        try:
            return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
        except zlib.error:
            return b""
    return head


def read_head_lines(path: Path) -> list[str]:
    """Return the first lines of a text file, nothing for a binary one."""
    head = read_head(path)
    if not head or (b"\x00" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff"))):
        return []
    return re.split(r"\r\n|\r|\n", head.decode(encoding_of(head), errors="replace").removeprefix("\ufeff"))


def digest(raw: bytes) -> str:
    """Return the SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def encoding_of(data: bytes) -> str:
    """Return the text encoding: by byte order mark, else UTF-8 where it fits, else Latin-1 (which always does)."""
    if data.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


@dataclass(frozen=True)
class Text:
    """The lines of a text file, with what is needed to write them back as they were.

    Attributes
    ----------
    lines, ends : tuple of str
        Each line, and the characters that end it (none at the end of the file).
    encoding : str
        Of the file.
    """

    lines: tuple[str, ...]
    ends: tuple[str, ...]
    encoding: str

    def replaced(self, lines: Mapping[int, str]) -> bytes:
        """Return the bytes with some lines replaced, by index; UTF-8 where the encoding lacks a character."""
        pairs = enumerate(zip(self.lines, self.ends, strict=True))
        text = "".join(lines.get(i, line) + end for i, (line, end) in pairs)
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError:
            return text.encode("utf-8")


def read_text(path: Path, raw: bytes) -> Text:
    """Return the text of a file's bytes, whatever its encoding. Raises `FormatError` for binary data."""
    data = unpack(path, raw)
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise FormatError(path, f"is no text: {error}") from error
    if "\x00" in text:
        raise FormatError(path, "is no text file: it holds zero bytes")
    found = [(m[1], m[2]) for m in LINE.finditer(text) if m[0]]
    return Text(tuple(line for line, _ in found), tuple(end for _, end in found), encoding)


def finite(text: str, path: Path, where: str, what: str) -> float:
    """Return a number from its text. Raises `FormatError` naming ``what`` when it is none, NaN or infinite."""
    try:
        value = float(text.strip())
    except ValueError as error:
        raise FormatError(path, f"{what}: {text.strip()!r} is no number", where) from error
    if not isfinite(value):
        raise FormatError(path, f"{what}: {text.strip()!r} is not finite", where)
    return value


# --- sections -------------------------------------------------------------------------------------------------------


def section_of(z: float) -> str:
    """Return the name of the section at height ``z``: ``"3"`` for 3.0, ``"0.5"`` for 0.5."""
    return str(int(z)) if z == int(z) and abs(z) < 1e15 else repr(z)


def z_of(section: str) -> float | None:
    """Return the height that a section's name says, None when it says none."""
    try:
        z = float(section)
    except ValueError:
        return None
    return z if isfinite(z) else None


def heights(layouts: Sequence[Layout]) -> list[float]:
    """Return a z for each layout: what the sections' names say where all say one and they differ, else 0, 1, 2 ..."""
    found = [z_of(layout.section) for layout in layouts]
    known = [z for z in found if z is not None]
    if len(known) == len(found) and len(set(known)) == len(known):
        return known
    return [float(i) for i in range(len(layouts))]


def section_losses(layouts: Sequence[Layout]) -> tuple[str, ...]:
    """Return what a format that knows sections by their z only would lose of the sections' names."""
    if len(layouts) < 2:
        return ()
    pairs = zip(heights(layouts), layouts, strict=True)
    renamed = [layout.section for z, layout in pairs if section_of(z) != layout.section]
    return (f"section names that are no numbers ({', '.join(renamed)})",) if renamed else ()


def mask_losses(layouts: Sequence[Layout]) -> tuple[str, ...]:
    """Return what a format without masks would lose."""
    masked = [tile.id for layout in layouts for tile in layout if tile.mask_path is not None]
    return (f"the masks of {len(masked)} tile(s) (first: {masked[0]})",) if masked else ()


def slug(name: str) -> str:
    """Return a file name for a section; different sections get different names."""
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "_"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


# --- out ------------------------------------------------------------------------------------------------------------


def write_new(path: Path, data: bytes, *, overwrite: bool = False) -> Path:
    """Write a whole new file or nothing: to a temporary name beside it, then renamed.

    A file that holds the same bytes already is not touched when it may be overwritten.

    Raises
    ------
    InputError
        When the file exists and ``overwrite`` is not given, or the folder cannot be written.
    """
    if path.exists() and not overwrite:
        msg = f"{path} exists and is not overwritten: move it, or choose another name"
        raise InputError(msg)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.is_file() and path.read_bytes() == data:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        if error.errno in NOT_ALLOWED:
            msg = f"{path} cannot be written: {error.strerror}"
            raise InputError(msg) from error
        raise
    return path


def packed(path: Path, data: bytes) -> bytes:
    """Return the bytes as a file of that name holds them: gzip when it ends in ``.gz``."""
    return gzip.compress(data, mtime=0) if path.name.lower().endswith(".gz") else data


def solved_path(source: Path, out: Path | None, name: str) -> Path:
    """Return where a solved copy goes: beside ``source``, into the folder ``out``, or to the file ``out``.

    ``out`` is a file when it is no existing folder and has a suffix.
    """
    if out is None:
        return source.parent / name
    if out.is_dir() or not out.suffix:
        return out / name
    return out


def same_folder(one: Path, other: Path) -> bool:
    """Return whether two folders are the same, links followed."""
    return one.resolve() == other.resolve()


def relative_or_absolute(target: Path, folder: Path) -> str:
    """Return ``target`` as seen from ``folder``, with forward slashes; absolute where no relative path leads there.

    Links to folders are followed only on the way up: ``..`` out of a linked folder leads to where the link points.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100  Path.resolve would follow a link that is the image itself
    here = Path(os.path.abspath(folder))  # noqa: PTH100
    if target.is_relative_to(here):
        return target.relative_to(here).as_posix()
    try:
        return Path(os.path.relpath(target.parent.resolve() / target.name, here.resolve())).as_posix()
    except ValueError:  # another drive
        return target.as_posix()


# --- images ---------------------------------------------------------------------------------------------------------


class ImageFinder:
    """Finds the images that a layout file names, also when the folder has moved.

    Parameters
    ----------
    folder : Path
        The layout file's folder: relative names start here, and images whose folder is gone are looked for here.
    relink : Path or None
        A folder, searched with its subfolders: an image found there by its base name wins over the name written.
    """

    def __init__(self, folder: Path, relink: Path | None = None) -> None:
        self.folder = folder
        self.relink = relink
        self.beside: list[str] = []
        self.ambiguous: list[str] = []
        self.not_relinked: list[str] = []
        self._names: dict[str, frozenset[str]] = {}
        self._index: dict[str, list[Path]] = defaultdict(list)
        if relink is not None:
            if not relink.is_dir():
                msg = f"{relink} is no folder: --relink needs the folder that holds the images"
                raise InputError(msg)
            for root, _, files in os.walk(relink):
                for name in sorted(files):
                    self._index[name].append(Path(root) / name)

    def exists(self, path: Path) -> bool:
        """Return whether a file is there, by listing each folder once."""
        folder, name = os.path.split(path)
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(entry.name for entry in os.scandir(folder or "."))
            except OSError:
                self._names[folder] = frozenset()
        names = self._names[folder]
        return name in names or (CASE_BLIND and bool(names) and path.exists())

    def written(self, name: str) -> Path:
        """Return the path that a name in the file stands for, without asking whether it exists."""
        if URL.match(name):
            return Path(name)
        text = re.sub(r"(?i)^file:(//(localhost)?(?=/))?", "", name)
        if text != name:
            text = unquote(text)
        if os.name != "nt" and "\\" in text and not self.exists(self.folder / text):
            text = text.replace("\\", "/")
        path = Path(text)
        if path.is_absolute() or WINDOWS_DRIVE.match(text):
            return path
        return self.folder / path

    def find(self, name: str) -> Path:
        """Return where an image lies: relinked, as written, beside the layout file, or else as written."""
        path = self.written(name)
        if self.relink is not None:
            found = self._relinked(path)
            if found is not None:
                return found
            self.not_relinked.append(name)
        if URL.match(name) or self.exists(path):
            return path
        fixed = _undo_mojibake(path)
        if fixed is not None and self.exists(fixed):
            return fixed
        near = self.folder / path.name
        if self.exists(near):
            self.beside.append(name)
            return near
        return path

    def _relinked(self, path: Path) -> Path | None:
        candidates = self._index.get(path.name, [])
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        tails = [_common_tail(path, c) for c in candidates]
        best = max(tails)
        if tails.count(best) > 1:
            self.ambiguous.append(str(path))
            return None
        return candidates[tails.index(best)]

    def warnings(self) -> list[str]:
        """Return one line for each kind of thing that was not where the file says."""
        out = []
        if self.beside:
            out.append(
                f"{len(self.beside)} image(s) are not where the file says and were found beside it"
                f" (first: {self.beside[0]}); --relink writes the true paths"
            )
        if self.ambiguous:
            out.append(
                f"{len(self.ambiguous)} image(s) occur more than once below {self.relink} and were not relinked"
                f" (first: {self.ambiguous[0]})"
            )
        missing = [n for n in self.not_relinked if str(self.written(n)) not in set(self.ambiguous)]
        if missing:
            out.append(f"{len(missing)} image(s) are not below {self.relink} (first: {missing[0]})")
        return out


def _undo_mojibake(path: Path) -> Path | None:
    """Return the path with UTF-8 bytes that were read as Latin-1 put right, None when there are none."""
    text = str(path)
    if text.isascii():
        return None
    try:
        fixed = text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return None
    return Path(fixed)


def _common_tail(one: Path, other: Path) -> int:
    """Return how many path parts agree, counted from the end."""
    count = 0
    for a, b in zip(reversed(one.parts), reversed(other.parts), strict=False):
        if a != b:
            break
        count += 1
    return count
