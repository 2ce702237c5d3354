"""A picture that ImageJ holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import FormatError, InputError
from demis_ij.imagej import stacks
from demis_ij.imagej.marks import Mark, from_overlay, to_overlay
from demis_ij.imagej.pixels import GREY

SHOWN_PX = 800
"""Longest side of a picture in a notebook."""


class Picture:
    """A handle of an image in ImageJ; made by `Session.to_imageplus`, `Session.open` or a script's output.

    Pixels stay in ImageJ until `to_numpy` brings a copy. In a notebook it shows itself, overlay and all.
    """

    def __init__(self, imageplus: Any) -> None:
        self._imageplus = imageplus

    def __repr__(self) -> str:
        return f"<Picture {self.title!r} {self.axes} {'x'.join(map(str, self.shape))} {self.dtype}>"

    def _repr_png_(self) -> bytes:
        done, coded = cv2.imencode(".png", self.snapshot(longest_px=SHOWN_PX)[..., ::-1])
        if not done:
            msg = f"OpenCV could not write a PNG of {self!r}"
            raise InputError(msg)
        return coded.tobytes()

    @property
    def title(self) -> str:
        """What ImageJ writes above it."""
        return str(self._imageplus.getTitle())

    @property
    def axes(self) -> str:
        """Letters of its axes, as `to_numpy` returns them: ``"yx"``, ``"zyx"``, ``"tzcyx"``, ``"yxs"`` for colour."""
        return stacks.axes_of(self._imageplus)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what `to_numpy` returns."""
        image = self._imageplus
        lengths = {
            "t": image.getNFrames(), "z": image.getNSlices(), "c": image.getNChannels(), "y": image.getHeight(),
            "x": image.getWidth(), "s": 3,
        }  # fmt: skip
        return tuple(int(lengths[a]) for a in self.axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what `to_numpy` returns."""
        if stacks.is_colour(self._imageplus):
            return np.dtype(np.uint8)
        if bool(self._imageplus.getLocalCalibration().isSigned16Bit()):
            return np.dtype(np.int16)
        return GREY[int(self._imageplus.getBitDepth())].dtype

    def to_numpy(self, axes: str | None = None) -> NDArray[Any]:
        """Return a copy of the pixels.

        Parameters
        ----------
        axes : str, optional
            Which axes the array is to have, in the order of ``"tzcyxs"``; by default those that are longer than one.

        Returns
        -------
        ndarray
            uint8, uint16 or float32; int16 where ImageJ marks 16-bit pixels as signed; uint8 with a last axis of red,
            green and blue for colour. A table of colours changes what is seen, not the values.

        Raises
        ------
        InputError
            The axes named do not hold the picture.
        """
        return stacks.to_numpy(self._imageplus, axes)

    @property
    def pixel_size(self) -> tuple[float, str] | None:
        """Side of a pixel and its unit, ``(4.0, "nm")``; None when not calibrated. Raises if pixels are not square."""
        calibration = self._imageplus.getLocalCalibration()
        if str(calibration.getUnit()) in {"pixel", "pixels"}:
            return None
        wide, high = float(calibration.pixelWidth), float(calibration.pixelHeight)
        if not np.isclose(wide, high, rtol=1e-6):
            msg = f"the pixels of {self.title} are not square: {wide} x {high} {calibration.getUnit()}"
            raise InputError(msg)
        return wide, _unit(str(calibration.getUnit()))

    @property
    def z_spacing(self) -> float:
        """From plane to plane, in the unit of `pixel_size`."""
        return float(self._imageplus.getLocalCalibration().pixelDepth)

    @property
    def display_range(self) -> tuple[float, float]:
        """The grey values that are shown black and white."""
        return float(self._imageplus.getDisplayRangeMin()), float(self._imageplus.getDisplayRangeMax())

    def calibrate(self, pixel_size: tuple[float, str] | None, z_spacing: float | None = None) -> Picture:
        """Give pixels their size, planes their distance (in the same unit), and return the picture.

        Raises
        ------
        InputError
            A length is not positive, or there is a distance without a unit.
        """
        if z_spacing is not None and pixel_size is None:
            msg = f"z_spacing {z_spacing} has no unit: give pixel_size too"
            raise InputError(msg)
        if pixel_size is None:
            return self
        side, unit = pixel_size
        if not (0 < side < float("inf")) or not (z_spacing is None or 0 < z_spacing < float("inf")) or not unit:
            msg = f"pixel_size {pixel_size} and z_spacing {z_spacing}: positive lengths and a unit are needed"
            raise InputError(msg)
        calibration = self._imageplus.getCalibration()
        calibration.pixelWidth = calibration.pixelHeight = float(side)
        calibration.pixelDepth = float(side if z_spacing is None else z_spacing)
        calibration.setUnit(unit)
        return self

    def show_range(self, display_range: tuple[float, float] | None) -> Picture:
        """Show the lower grey value black and the upper one white, and return the picture; None changes nothing.

        Raises
        ------
        InputError
            The lower value is not below the upper one.
        """
        if display_range is not None:
            low, high = map(float, display_range)
            if not low < high:
                msg = f"display range {display_range}: the first value must be below the second"
                raise InputError(msg)
            self._imageplus.setDisplayRange(low, high)
        return self

    @property
    def overlay(self) -> tuple[Mark, ...]:
        """What lies over the picture."""
        return from_overlay(self._imageplus.getOverlay())

    def draw(self, marks: Iterable[Mark]) -> Picture:
        """Lay marks over the picture in place of those it has, and return it; none at all removes them."""
        listed = list(marks)
        self._imageplus.setOverlay(to_overlay(listed) if listed else None)
        return self

    def snapshot(self, plane: int = 1, *, longest_px: int | None = None) -> NDArray[np.uint8]:
        """Return what one sees, as red, green and blue: one plane in its display range with the overlay drawn.

        Parameters
        ----------
        plane : int
            Of a stack, from 1.
        longest_px : int, optional
            Reduce it so that no side is longer.

        Returns
        -------
        ndarray of shape (rows, cols, 3), uint8
        """
        planes = int(self._imageplus.getStackSize())
        if not 1 <= plane <= planes:
            msg = f"{self.title} has planes 1 to {planes}, found {plane}"
            raise InputError(msg)
        shown = self._imageplus.getSlice()
        self._imageplus.setSliceWithoutUpdate(plane)
        seen = stacks.to_numpy(self._imageplus.flatten(), "yxs")
        self._imageplus.setSliceWithoutUpdate(shown)
        scale = 1.0 if longest_px is None else longest_px / max(seen.shape[:2])
        if scale >= 1:
            return seen
        size = (max(1, round(seen.shape[1] * scale)), max(1, round(seen.shape[0] * scale)))
        return np.asarray(cv2.resize(seen, size, interpolation=cv2.INTER_AREA), np.uint8)

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the picture and return the path.

        ``.tif`` holds everything: pixels, calibration, display range and overlay, as ImageJ writes it. ``.png`` holds
        what one sees (`snapshot`).

        Raises
        ------
        InputError
            The name ends otherwise, the file is there already, or it cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() not in {".tif", ".tiff", ".png"}:
            msg = f"{target.name}: a picture is written as .tif or .png"
            raise InputError(msg)
        if target.exists() and not overwrite:
            msg = f"{target} is there already: another name, or overwrite=True"
            raise InputError(msg)
        if not target.parent.is_dir():
            msg = f"there is no folder {target.parent}"
            raise InputError(msg)
        part = target.with_name(f".{target.stem}.part{target.suffix}")
        try:
            if not (self._write_png(part) if target.suffix.lower() == ".png" else self._write_tiff(part)):
                msg = f"{target} cannot be written"
                raise InputError(msg)
            part.replace(target)
        except OSError as error:
            msg = f"{target} cannot be written: {error.strerror}"
            raise InputError(msg) from error
        finally:
            part.unlink(missing_ok=True)
        return target

    def _write_png(self, path: Path) -> bool:
        done, coded = cv2.imencode(".png", self.snapshot()[..., ::-1])
        if done:
            path.write_bytes(coded.tobytes())
        return bool(done)

    def _write_tiff(self, path: Path) -> bool:
        import jpype

        saver = jpype.JClass("ij.io.FileSaver")(self._imageplus)
        title = self._imageplus.getTitle()
        write = saver.saveAsTiffStack if int(self._imageplus.getStackSize()) > 1 else saver.saveAsTiff
        done = bool(write(str(path)))
        self._imageplus.setTitle(title)  # saving names the image after the file
        return done and path.is_file()

    def open_window(self) -> None:
        """Show it in a window of its own. Raises `InputError` in a session without windows."""
        import jpype

        if bool(jpype.JClass("java.awt.GraphicsEnvironment").isHeadless()):
            msg = "this ImageJ was started without windows: start(headless=False) in a fresh process"
            raise InputError(msg)
        self._imageplus.show()

    def close(self) -> None:
        """Let ImageJ forget it; its window closes."""
        self._imageplus.changes = False
        self._imageplus.close()


def _unit(text: str) -> str:
    return "µm" if text in {"micron", "microns", "um", "μm"} else text


def open_picture(path: Path) -> Picture:
    """Return the image in a file, read by ImageJ.

    Raises
    ------
    InputError
        There is no such file.
    FormatError
        ImageJ cannot read it.
    """
    import jpype

    if not path.is_file():
        msg = f"there is no file {path}"
        raise InputError(msg)
    opener = jpype.JClass("ij.io.Opener")()
    opener.setSilentMode(True)
    image = opener.openImage(str(path.absolute()))
    if image is None:
        raise FormatError(path, "ImageJ cannot read it as an image")
    return Picture(image)
