"""What images are made to look like before they are registered, and what registers them.

::

    raw         grey values as they are
    gradient    gradient magnitude of both: the baseline that needs no training
    contrast    local contrast of both, whatever its sign (`demis_ij.nets.style_contrast`): needs no training either
    styled      the light picture through a style network, the electron picture as that network's target looks
    perfect     the deformed specimen seen by electrons: no style network can do better

    elastic     our own B-splines (`demis_ij.aligners.elastic`)
    dis         OpenCV's DIS optical flow, on the greys as they are
    elastix     B-splines by mutual information, on greys evened out (itk-elastix, the extra ``baselines``)
    bunwarpj    the plugin of a Fiji, on the greys as they are
    nothing     no displacement
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.config import from_dict, to_dict
from demis_ij.config.elastic import ElasticSettings
from demis_ij.errors import InputError
from demis_ij.fields import dense
from demis_ij.geometry import Box
from demis_ij.records import Field, Offsets
from demis_ij.synth.correlative_views import CorrelativeViews, perfect_style

if TYPE_CHECKING:
    from demis_ij.nets.style_transfer import Style

Grey = NDArray[np.uint8]
Register = Callable[[Grey, Grey], Offsets]
Styles = Mapping[str, "Style"]

LOOKS = ("raw", "gradient", "contrast", "styled", "perfect")
ENGINES = ("elastic", "dis", "elastix", "bunwarpj")
NOTHING = "nothing"
_GRADIENT_PX = 1.0


@dataclass(frozen=True)
class StyleMethod:
    """A look and what registers it, under the name it was asked for by.

    Attributes
    ----------
    name : str
        ``LOOK+ENGINE[,SETTING=VALUE...]``, or ``nothing``.
    look, engine : str
        Of `LOOKS` and `ENGINES`.
    settings : ElasticSettings or None
        Of ``elastic``; None for other engines.
    fiji : str
        Folder of a Fiji, of ``bunwarpj``.
    """

    name: str
    look: str
    engine: str
    settings: ElasticSettings | None = None
    fiji: str = ""


def read_method(text: str, *, fiji: str = "") -> StyleMethod:
    """Return a method from ``LOOK+ENGINE[,SETTING=VALUE...]``; settings are those of our own elastic registration.

    Raises
    ------
    InputError
        When there is no such look, engine or setting, or a value is out of range.

    Examples
    --------
    >>> read_method("raw+elastic,similarity=mi").settings.similarity
    'mi'
    """
    name, *settings = (part.strip() for part in text.split(","))
    if name == NOTHING and not settings:
        return StyleMethod(NOTHING, "raw", NOTHING)
    look, plus, engine = name.partition("+")
    if not plus or look not in LOOKS or engine not in ENGINES:
        msg = (
            f"method {text!r}: needed LOOK+ENGINE, a look of {', '.join(LOOKS)} and an engine of {', '.join(ENGINES)}"
            f", or {NOTHING}"
        )
        raise InputError(msg)
    if settings and engine != "elastic":
        msg = f"method {text!r}: only elastic has settings"
        raise InputError(msg)
    own = from_dict(ElasticSettings, _values(text, settings)) if engine == "elastic" else None
    return StyleMethod(text, look, engine, own, fiji if engine == "bunwarpj" else "")


def _values(text: str, settings: list[str]) -> dict[str, Any]:
    defaults, out = to_dict(ElasticSettings()), {}
    for item in settings:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or key not in defaults:
            msg = f"method {text!r}: {item!r} is not SETTING=VALUE with one of {', '.join(defaults)}"
            raise InputError(msg)
        try:
            out[key] = type(defaults[key])(value)
        except ValueError as error:
            msg = f"method {text!r}: {key} needs a number, found {value!r}"
            raise InputError(msg) from error
    return out


def grey(image: NDArray[np.uint8]) -> Grey:
    """Return an image without its colours (red first; ITU-R BT.601)."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def gradient(image: NDArray[np.uint8]) -> Grey:
    """Return the gradient magnitude of an image, smoothed by a px, its 99.5 percent at 255."""
    smooth = cv2.GaussianBlur(grey(image).astype(np.float32), (0, 0), _GRADIENT_PX)
    found = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    high = max(float(np.percentile(found, 99.5)), 1e-6)
    return np.asarray(np.clip(np.rint(found * (255 / high)), 0, 255), np.uint8)


def contrast(image: NDArray[np.uint8]) -> Grey:
    """Return the local contrast of an image, all its colours together."""
    from demis_ij.nets.style_contrast import contrast_look  # torch: only when asked for
    from demis_ij.nets.style_look import look_at, to_bytes

    return to_bytes(contrast_look(look_at(image), np.ones(image.shape[:2], bool)))


def looked_at(pair: CorrelativeViews, look: str, styles: Styles) -> tuple[Grey, Grey]:
    """Return a pair's fixed and moving picture as a look shows them. Raises `InputError` where a style is missing."""
    if look == "raw":
        return pair.sem, grey(pair.lom)
    if look == "gradient":
        return gradient(pair.sem), gradient(pair.lom)
    if look == "contrast":
        return contrast(pair.sem), contrast(pair.lom)
    if look == "perfect":
        return pair.sem, perfect_style(pair.kind, pair.seed, pair.sem.shape[0])
    style = styles.get(pair.kind)
    if style is None:
        msg = f"styled: no style for {pair.kind} is given: name its weights by --style {pair.kind}=WEIGHTS"
        raise InputError(msg)
    moving = pair.lom if style.fits(pair.lom) else grey(pair.lom)
    return _plane(style.shown(pair.sem).compared), _plane(style(moving).compared)


def _plane(image: NDArray[np.uint8]) -> Grey:
    return grey(np.squeeze(image))


def engine_of(method: StyleMethod) -> Register:
    """Return what registers: (fixed, moving) to offsets (2, rows, cols) at every px, NaN where nothing is known.

    Raises
    ------
    InputError, MissingPart
        When the engine, or the device or folder that it needs, is not there.
    """
    if method.engine == NOTHING:
        return lambda fixed, _: np.zeros((2, *fixed.shape), np.float32)
    if method.engine == "dis":
        return _dis
    aligner: Any
    if method.engine == "elastic":
        from demis_ij.aligners.elastic import ElasticAligner  # torch: only when asked for

        aligner = ElasticAligner(method.settings)
        return lambda fixed, moving: _everywhere(aligner.register(fixed, moving).field, fixed)
    if method.engine == "elastix":
        from demis_ij.aligners.bspline import BsplineAligner

        aligner = BsplineAligner()
    else:
        return _bunwarpj(method.fiji)
    return lambda fixed, moving: _everywhere(
        aligner(fixed, moving, np.ones(fixed.shape, bool), np.ones(moving.shape, bool)), fixed
    )


def _bunwarpj(fiji: str) -> Register:
    """Return bUnwarpJ with its own defaults, on the greys as they are, judged by what it says, folds and all."""
    from demis_ij.aligners.bunwarpj import spline_field
    from demis_ij.imagej.plugins import BUNWARPJ, check_plugin
    from demis_ij.imagej.registration import BunwarpjSettings, bunwarpj_coefficients

    check_plugin(BUNWARPJ, fiji)

    def register(fixed: Grey, moving: Grey) -> Offsets:
        whole = [np.ones(image.shape, bool) for image in (fixed, moving)]
        found = bunwarpj_coefficients(
            fiji, fixed, moving, fixed_mask=whole[0], moving_mask=whole[1], settings=BunwarpjSettings()
        )
        return _everywhere(spline_field(found, (fixed.shape[0], fixed.shape[1])), fixed)

    return register


def _everywhere(found: Field, fixed: Grey) -> Offsets:
    return dense(found, Box.of_shape((fixed.shape[0], fixed.shape[1])))


def _dis(fixed: Grey, moving: Grey) -> Offsets:
    """Return OpenCV's dense inverse search (Kroeger et al. 2016, doi:10.1007/978-3-319-46493-0_29), preset medium."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.ascontiguousarray(np.moveaxis(np.asarray(search.calc(fixed, moving, None), np.float32), -1, 0))


__all__ = [
    "ENGINES", "LOOKS", "NOTHING", "StyleMethod", "Styles", "contrast", "engine_of", "gradient", "grey", "looked_at",
    "read_method",
]  # fmt: skip
