"""XML as bytes: finding start tags and attributes without a parser, so that a file can be edited in place.

Works on any encoding in which markup is ASCII (ISO-8859-1, UTF-8, ASCII, Windows code pages); not on UTF-16.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

TOKEN = re.compile(
    rb"<!--.*?-->"
    rb"|<!\[CDATA\[.*?\]\]>"
    rb"|<\?.*?\?>"
    rb"|<!DOCTYPE\b[^\[>]*+(?:\[[^\]]*+\])?\s*+>"
    rb"|<(?P<name>[A-Za-z_:\x80-\xff][^\s/>\"'=<]*+)(?P<rest>(?:[^\"'>]++|\"[^\"]*+\"|'[^']*+')*+)>",
    re.DOTALL,
)
ATTRIBUTE = re.compile(rb"([^\s=/>\"']++)\s*+=\s*+(\"[^\"]*+\"|'[^']*+')")
BARE_AMPERSAND = re.compile(rb"&(?!(?:#[0-9]+|#x[0-9A-Fa-f]+|amp|lt|gt|quot|apos);)")
DECLARED = re.compile(rb"^\s*<\?xml[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._\-]+)[\"']")
REFERENCE = re.compile(r"&(#[0-9]+|#x[0-9A-Fa-f]+|amp|lt|gt|quot|apos);")
NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class Attribute(NamedTuple):
    """An attribute's value in the bytes: ``data[start:end]``, without its quotes."""

    start: int
    end: int
    quote: bytes


@dataclass(frozen=True)
class StartTag:
    """A start tag (or an empty element) in the bytes.

    Attributes
    ----------
    name : str
        In lower case.
    start, after_name, end : int
        Offsets of ``<``, of what follows the name, and behind ``>``.
    attributes : mapping of str to Attribute
        By name in lower case.
    """

    name: str
    start: int
    after_name: int
    end: int
    attributes: Mapping[str, Attribute]


def start_tags(data: bytes, names: frozenset[str]) -> Iterator[StartTag]:
    """Yield the start tags that have one of ``names`` (lower case), in order; comments and CDATA are skipped."""
    for token in TOKEN.finditer(data):
        raw = token["name"]
        if raw is None or (name := _name(raw)) not in names:
            continue
        attributes = {
            _name(a[1]): Attribute(a.start(2) + 1, a.end(2) - 1, a[2][:1])
            for a in ATTRIBUTE.finditer(data, *token.span("rest"))
        }
        yield StartTag(name, token.start(), token.end("name"), token.end(), attributes)


@lru_cache(maxsize=4096)
def _name(raw: bytes) -> str:
    """Return a name in lower case; a project has few, many times over."""
    return raw.decode("latin-1").lower()


def repair(data: bytes) -> bytes:
    """Return the bytes with bare ``&``, and ``<`` inside attribute values, escaped; lines stay where they are."""
    out, last = [], 0
    for token in TOKEN.finditer(data):
        out.append(BARE_AMPERSAND.sub(b"&amp;", data[last : token.start()]))
        text = token[0]
        if token["name"] is not None:
            text = BARE_AMPERSAND.sub(b"&amp;", text)
            text = text[:1] + text[1:].replace(b"<", b"&lt;")
        out.append(text)
        last = token.end()
    out.append(BARE_AMPERSAND.sub(b"&amp;", data[last:]))
    return b"".join(out)


def xml_encoding(data: bytes) -> str:
    """Return the encoding that an XML file declares, else UTF-8; ISO-8859-1 where it is said to be UTF-8 and is not."""
    found = DECLARED.match(data.removeprefix(b"\xef\xbb\xbf"))
    encoding = found[1].decode("ascii").lower() if found else "utf-8"
    if encoding != "utf-8":
        return encoding
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "iso-8859-1"
    return encoding


def unescape(text: str) -> str:
    """Return the text with XML's own references resolved."""

    def resolve(found: re.Match[str]) -> str:
        name = found[1]
        if name in NAMED:
            return NAMED[name]
        return chr(int(name[2:], 16) if name.startswith("#x") else int(name[1:]))

    return REFERENCE.sub(resolve, text)


def escape(text: str, encoding: str) -> bytes:
    """Return an attribute's value as bytes; characters that the encoding lacks become numeric references."""
    for char, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;")):
        text = text.replace(char, name)
    for char in "\t\n\r":
        text = text.replace(char, f"&#{ord(char)};")
    return text.encode(encoding, "xmlcharrefreplace")


def value(data: bytes, attribute: Attribute, encoding: str) -> str:
    """Return the text of an attribute."""
    return unescape(data[attribute.start : attribute.end].decode(encoding, "replace"))


def replaced(data: bytes, edits: Mapping[tuple[int, int], bytes]) -> bytes:
    """Return the bytes with ``data[start:end]`` replaced for each (start, end) of ``edits``, which must not overlap."""
    out, last = [], 0
    for (start, end), new in sorted(edits.items()):
        out += [data[last:start], new]
        last = end
    out.append(data[last:])
    return b"".join(out)
