"""Take the pictures of ``docs/howto/fiji.md``: the dialogs of the menu, and what its commands show.

    python docs/make_screens.py [align sections ...]

ImageJ with windows runs embedded, on the screen of ``DISPLAY``, or on one that ``Xvfb`` makes (with ``openbox`` for the
frames of windows, where it is installed). The results are those of the commands themselves, run on a made-up section.
The dialogs are drawn from the scripts' own inputs as SciJava lays them out, because SciJava's dialogs are part of Fiji
and not on Maven Central; labels, choices, values and their order are the scripts'. With names, only those pictures are
taken, and the others of the same command.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile

from demis_ij import fiji, synth
from demis_ij.synth import GridSpec
from demis_ij.synth.correlative_pairs import RANGES, correlative_pair, specimen_for
from demis_ij.synth.correlative_views import views
from demis_ij.synth.stack import CASES, made_up, write_stack

IMAGES = Path(__file__).resolve().parent / "images"
SCREEN = "1500x1000x24"
FLATLAF = "com.formdev:flatlaf:3.5.4"
"""What Fiji's dialogs look like since 2023."""
SPEC = GridSpec(
    rows=3, cols=3, tile_px=320, overlap=0.2, rotation_deg=1.0, shift_frac=0.04, stage_error_frac=0.04, noise_sd=2
)
TYPED = {
    "project": "/data/em/section_012.xml",
    "layout": "/data/em/TileConfiguration.txt",
    "run": "/data/em/section_012.demis",
    "stack": "/data/em/series",
    "fixed": "/data/em/section_012.tif",
    "moving": "/data/xray/slice_0431.tif",
    "to": "/data/em/section_012.json",
    "environment": "/home/me/miniforge3/envs/demis",
}
COMMANDS = {
    "stitch-trakem2": "Stitch_TrakEM2_Project", "stitch-layout": "Stitch_Layout", "compare": "Compare_With_SIFT",
    "matches": "Show_Matches", "convert": "Convert_Layout", "python": "Set_Python_Environment",
    "update": "Update_Open_TrakEM2_Project", "align": "Align_Sections", "register": "Register_Images",
}  # fmt: skip

LOOK = """
com.formdev.flatlaf.FlatLightLaf.setup()
javax.swing.UIManager.put("defaultFont", new java.awt.Font("DejaVu Sans", java.awt.Font.PLAIN, 13))
"""

SHOOT = """
def shoot = { java.awt.Window window, String path ->
    window.toFront(); Thread.sleep(700)
    def picture = new java.awt.Robot().createScreenCapture(window.bounds)
    javax.imageio.ImageIO.write(picture, "png", new File(path))
}
"""

DIALOG = (
    """
#@ File source
#@ String typed
#@ String target
#@ ScriptService scripts
#@output String done
import groovy.json.JsonSlurper
import java.awt.*
import javax.swing.*
"""
    + SHOOT
    + """
def values = new JsonSlurper().parseText(typed)
def info = scripts.getScript(source)
def rows = info.inputs().findAll {
    it.visibility.name() != "INVISIBLE" && !it.type.name.startsWith("org.scijava")
}
def panel = new JPanel(new GridBagLayout())
def place = { component, x, y, weight, anchor ->
    def fill = x == 1 ? GridBagConstraints.HORIZONTAL : GridBagConstraints.NONE
    panel.add(component, new GridBagConstraints(x, y, 1, 1, weight, 0, anchor, fill, new Insets(3, 4, 3, 4), 0, 0))
}
def widget = { item ->
    def first = values[item.name] ?: item.defaultValue
    if (item.choices && (item.widgetStyle ?: "").startsWith("radio")) {
        def box = Box.createVerticalBox()
        item.choices.each { box.add(new JRadioButton(it as String, it == first)) }
        return box
    }
    if (item.choices) { def box = new JComboBox(item.choices as Object[]); box.selectedItem = first; return box }
    if (item.type == Boolean) return new JCheckBox("", first as boolean)
    if (Number.isAssignableFrom(item.type)) return new JSpinner(new SpinnerNumberModel(first as double, 0d, 1e6d, 1d))
    def field = new JTextField((first ?: "") as String, item.type == File ? 26 : 14)
    if (item.type != File) return field
    def line = new JPanel(new BorderLayout(6, 0))
    line.add(field, BorderLayout.CENTER)
    line.add(new JButton("Browse"), BorderLayout.EAST)
    line
}
rows.eachWithIndex { item, k ->
    place(new JLabel(item.label ?: item.name), 0, k, 0, GridBagConstraints.EAST)
    place(widget(item), 1, k, 1, GridBagConstraints.WEST)
}
def buttons = new JPanel(new FlowLayout(FlowLayout.RIGHT))
def ok = new JButton("OK")
buttons.add(new JButton("Cancel")); buttons.add(ok)
def dialog = new JDialog((Frame) null, info.label, false)
dialog.rootPane.defaultButton = ok
panel.border = BorderFactory.createEmptyBorder(10, 12, 4, 12)
dialog.add(panel, BorderLayout.CENTER)
dialog.add(buttons, BorderLayout.SOUTH)
dialog.pack(); dialog.setLocation(60, 40); dialog.visible = true
shoot(dialog, target)
dialog.dispose()
done = "yes"
"""
)

WINDOWS = (
    """
#@ String target
#@ String told
#@ String kind
#@ Integer wide
#@ Integer high
#@output String done
import ij.*
"""
    + SHOOT
    + """
def fit = { window, width ->
    def image = window.imagePlus, zoom = width / (double) image.width
    window.canvas.setMagnification(zoom)
    window.canvas.setSize((int) width, (int) Math.ceil(zoom * image.height))
    window.pack()
    window.canvas.setSourceRect(new java.awt.Rectangle(0, 0, image.width, image.height))
    window.repaint()
}
WindowManager.getWindow("Log")?.close()
def tables = WindowManager.nonImageWindows.findAll { it instanceof ij.text.TextWindow && it.title.startsWith("DEMIS") }
if (kind == "table") {
    // the machine that takes the picture is nobody's business
    def table = tables.find { it.title == "DEMIS installation" }?.resultsTable
    if (table) {
        def paths = new groovy.json.JsonSlurper().parseText(told)
        def text = { row ->
            paths.inject(table.getStringValue("found", row)) { found, path -> found.replace(path.key, path.value) }
        }
        (table.size() - 1..0).each { row -> if (table.getStringValue("part", row) == "machine") table.deleteRow(row) }
        (0..<table.size()).each { row -> table.setValue("found", row, text(row)) }
        table.show("DEMIS installation")
    }
}
def windows = kind == "table" ? tables : WindowManager.IDList.collect { WindowManager.getImage(it).window }
windows.eachWithIndex { window, k ->
    if (kind == "table") window.setSize(wide, high)
    else if (kind == "side by side") java.awt.EventQueue.invokeAndWait { fit(window, wide - 20) }
    else if (wide > 0) java.awt.EventQueue.invokeAndWait { fit(window, wide) }
    window.setLocation(40, 140)
    shoot(window, target)
}
if (kind == "side by side") {
    windows.eachWithIndex { window, k -> window.setLocation(10 + k * wide, 140); window.toFront() }
    Thread.sleep(900)
    def area = new java.awt.Rectangle(10, 140, wide * windows.size(), windows.collect { it.height }.max())
    javax.imageio.ImageIO.write(new java.awt.Robot().createScreenCapture(area), "png", new File(target))
}
windows.each {
    if (kind == "table") { it.close(false); return }
    it.imagePlus.changes = false
    it.close()
}
done = "yes"
"""
)


@contextmanager
def screen() -> Iterator[None]:
    """Make a screen where there is none."""
    if os.environ.get("DISPLAY"):
        yield
        return
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", SCREEN, "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.environ["DISPLAY"] = f":{os.read(reading, 20).decode().strip()}"
    frames = subprocess.Popen(["openbox"], stderr=subprocess.DEVNULL) if shutil.which("openbox") else None
    time.sleep(1)
    try:
        yield
    finally:
        for program in (frames, server):
            if program is not None:
                program.terminate()


def make_small(path: Path) -> None:
    """Keep every eighth grey value: nobody sees it, and the file is a third."""
    picture = cv2.imread(str(path))
    cv2.imwrite(
        str(path), np.minimum(picture.astype(int) // 8 * 8 + 4, 255).astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9]
    )


def main() -> None:
    """Take them all, or those that are named."""
    from demis_ij import imagej

    wanted = set(sys.argv[1:])
    with screen(), tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("jars", "plugins"):
            (work / "Fiji" / name).mkdir(parents=True)
        fiji.install(work / "Fiji", python=Path(sys.executable))
        menu = work / "Fiji" / "scripts" / fiji.MENU
        session = imagej.start(headless=False, endpoints=[FLATLAF])
        session.run_script(
            "#@output String done\nif (ij.IJ.getInstance() == null) new ij.ImageJ()\n" + LOOK + "done = 'yes'\n"
        )
        for name, command in COMMANDS.items():
            if name not in (wanted or COMMANDS):
                continue
            script = menu / f"{command}_(DEMIS).groovy"
            target = str(IMAGES / f"fiji-{name}.png")
            session.run_script(DIALOG, {"source": script, "typed": json.dumps(TYPED), "target": target})

        def shoot(kind: str, name: str, wide: int = 0, high: int = 0) -> None:
            target = IMAGES / f"fiji-{name}.png"
            told = json.dumps({str(work): "/home/me", sys.prefix: "/home/me/miniforge3/envs/demis"})
            session.run_script(WINDOWS, {"target": target, "kind": kind, "wide": wide, "high": high, "told": told})
            make_small(target)

        for command, inputs, shots in results(work):
            if wanted and wanted.isdisjoint(name for _, name, *_ in shots):
                continue
            done = session.run_script(menu / f"{command}_(DEMIS).groovy", inputs)
            sys.stdout.write(f"{command}: {done['result']}\n")
            for shot in shots:
                shoot(*shot)
    sys.stdout.write("".join(f"{p}\n" for p in sorted(IMAGES.glob("fiji-*.png"))))
    os._exit(0)


def results(work: Path) -> Iterator[tuple[str, dict[str, object], list[tuple[Any, ...]]]]:
    """Yield commands with their inputs, and what is shown of each: kind, name, width, height."""
    data = synth.write_scene(synth.make_scene(SPEC, 9), work / "section_012")
    shots: list[tuple[Any, ...]] = [("table", "seams", 860, 330), ("image", "mosaic", 600)]
    yield "Stitch_TrakEM2_Project", {"project": data / "project.xml", "matcher": "SIFT"}, shots
    shots = [("table", "pairs", 760, 330), ("image", "pair", 640)]
    yield "Show_Matches", {"run": data / "project.demis", "worst": "1"}, shots
    yield "Check_Installation", {}, [("table", "check", 760, 330)]
    shots = [("table", "comparison", 1150, 150), ("side by side", "mosaics", 350)]
    yield "Compare_With_SIFT", {"layout": data / "project.xml"}, shots
    write_stack(work / "series", made_up(384, 10, 2), "folds", CASES["folds"], 2, source={"made_up": True})
    shots = [("table", "sections", 1380, 300), ("image", "aligned", 420)]
    yield "Align_Sections", {"stack": work / "series" / "images"}, shots
    pair = correlative_pair(specimen_for(4), "xray", RANGES["full"], 4)
    for name, image in (("electrons.tif", pair.fixed), ("xrays.tif", pair.moving)):
        tifffile.imwrite(work / name, image)
    shots = [("table", "registration", 1380, 130), ("side by side", "registered", 350)]
    asked = {"fixed": work / "electrons.tif", "moving": work / "xrays.tif", "method": "search"}
    yield "Register_Images", asked, shots
    steel = views("steel", 4, 512)
    for name, image in (("steel_electrons.tif", steel.sem), ("steel_light.tif", steel.lom)):
        tifffile.imwrite(work / name, image)
    shots = [("side by side", "styled", 350)]
    asked = {"fixed": work / "steel_electrons.tif", "moving": work / "steel_light.tif"}
    yield "Register_Images", asked | {"style": "steel", "expectedTransformation": "elastic"}, shots


if __name__ == "__main__":
    main()
