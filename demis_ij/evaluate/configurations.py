"""What is compared: a matcher with its settings, written as one word."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from demis_ij.config import StitchConfig, from_dict, to_dict
from demis_ij.errors import InputError
from demis_ij.protocols import Matcher
from demis_ij.stitch import AUTO, make_matcher


@dataclass(frozen=True)
class Configuration:
    """A way to match, under the name that the user wrote.

    Attributes
    ----------
    name : str
        For instance ``loftr@1,refine=false``.
    stitch : StitchConfig
        All settings, those that were not named at their defaults.
    """

    name: str
    stitch: StitchConfig

    @property
    def chain(self) -> tuple[str, ...]:
        """The matchers in the order in which they are asked."""
        return AUTO if self.stitch.matcher == "auto" else (self.stitch.matcher,)

    def matchers(self) -> tuple[Matcher, ...]:
        """Return the matchers, ready to be asked. Raises `WeightsError` when LoFTR's cannot be loaded."""
        return tuple(make_matcher(name, self.stitch) for name in self.chain)

    @property
    def fingerprint(self) -> str:
        """A digest of the settings and, for LoFTR, of the bytes of its weights (of all that ship, where it is one)."""
        told: dict[str, Any] = to_dict(self.stitch)
        if "loftr" in self.chain:
            own = Path(self.stitch.weights)
            ours = sorted(Path(str(files("demis_ij") / "weights")).glob("*.safetensors"))
            told["weights_sha256"] = [
                hashlib.sha256(path.read_bytes()).hexdigest() for path in ([own] if own.is_file() else ours)
            ]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def read_configuration(text: str) -> Configuration:
    """Return the configuration written as ``matcher[@resolution][,setting=value...]``.

    Parameters
    ----------
    text : str
        A setting is any field of `demis_ij.config.StitchConfig`; a value is written as in TOML, text without quotes.

    Raises
    ------
    InputError
        When the matcher or a setting is unknown (with the nearest name), or a value does not fit.

    Examples
    --------
    >>> read_configuration("loftr@0.5,refine=false").stitch.refine
    False
    """
    first, *rest = (part.strip() for part in text.split(","))
    matcher, at, resolution = first.partition("@")
    values: dict[str, Any] = {"matcher": matcher}
    if at:
        values["resolution"] = _value("resolution", resolution, text)
    for part in rest:
        key, equals, value = (p.strip() for p in part.partition("="))
        if not equals or not key:
            msg = f"configuration {text!r}: {part!r} is not SETTING=VALUE"
            raise InputError(msg)
        if key in values:
            msg = f"configuration {text!r}: {key} is given twice"
            raise InputError(msg)
        values[key] = _value(key, value, text)
    try:
        return Configuration(text, from_dict(StitchConfig, values))
    except InputError as error:
        msg = f"configuration {text!r}: {error}"
        raise InputError(msg) from error


def _value(key: str, text: str, whole: str) -> Any:
    """Return a setting's value: text where its default is text, else what JSON makes of it."""
    defaults = to_dict(StitchConfig())
    if key not in defaults:
        near = difflib.get_close_matches(key, defaults, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(defaults)}"
        msg = f"configuration {whole!r}: unknown setting {key!r}; {hint}"
        raise InputError(msg)
    if isinstance(defaults[key], str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def read_configurations(texts: Sequence[str]) -> tuple[Configuration, ...]:
    """Return configurations in the order given, each once. Raises `InputError`, also when there is none."""
    if not texts:
        msg = "an evaluation needs one configuration at least, for instance loftr"
        raise InputError(msg)
    return tuple(read_configuration(text) for text in dict.fromkeys(texts))
