"""TrakEM2's double in the embedded ImageJ: projects that are open there, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demis_ij.imagej import Session

DOUBLES = Path(__file__).with_name("doubles")
SCRIPTS = Path(__file__).resolve().parents[2] / "fiji_scripts" / "Plugins" / "DEMIS"
UPDATE = SCRIPTS / "Update_Open_TrakEM2_Project_(DEMIS).groovy"
RENDER = SCRIPTS / "Render_Layer_With_TrakEM2_(DEMIS).groovy"

KEY = "demis_ij.tests.doubles"
HEAD = f"""
#@ String (value="{{}}", persist=false) given
#@output String said
import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import ij.IJ
import java.awt.geom.AffineTransform
g = new JsonSlurper().parseText(given)
loader = IJ.getProperty("{KEY}")
type = {{ String name -> loader.loadClass(name) }}
made = {{ String name, Object... a -> type(name).newInstance(a) }}
everywhere = {{ ClassLoader from, ClassLoader to -> Thread.allStackTraces.keySet().findAll {{ it.contextClassLoader.is(from) }}.each {{ it.contextClassLoader = to }} }}
forget = {{ def f = IJ.getDeclaredField("properties"); f.accessible = true; f.get(null)?.keySet()?.removeIf {{ it.startsWith("demis_ij.classes") }} }}
projects = {{ loader == null ? [] : type("ini.trakem2.Project").getProjects() }}
tiles = {{ p -> p.rootLayerSet.layers.collectMany {{ it.getDisplayables(type("ini.trakem2.display.Patch")) }} }}
numbers = {{ AffineTransform at -> double[] m = new double[6]; at.getMatrix(m); m as List }}
"""  # noqa: E501  one line of Groovy a closure


class OpenTrakEM2:
    """TrakEM2 with some projects open."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def groovy(self, code: str, **given: Any) -> Any:
        """Run Groovy that sets ``out``; ``g`` holds what was given."""
        text = f"{HEAD}\nout = null\n{code}\nsaid = JsonOutput.toJson(out)\n"
        return json.loads(self.session.run_script(text, {"given": json.dumps(given)})["said"])

    def open(self, said: Mapping[str, Any], *, shown: bool = True, canvas: tuple[float, float] = (400, 100)) -> None:
        """Open a project of the tiles that ``said`` lists; its first layer is shown."""
        self.groovy(
            """
            def fs = g.file ? made("ini.trakem2.persistence.FSLoader", g.said.path, g.said.unuid) : made("ini.trakem2.persistence.Loader")
            def p = made("ini.trakem2.Project", fs, g.said.title)
            def set = p.rootLayerSet
            set.layerWidth = g.canvas[0] as float
            set.layerHeight = g.canvas[1] as float
            def layers = [:]
            g.said.patches.each { t ->
                def layer = layers.computeIfAbsent(t.layer) { made("ini.trakem2.display.Layer", set, 1000L + (t.layer as long), t.layer as double) }
                def at = new AffineTransform(t.matrix.collect { it as double } as double[])
                def patch = made("ini.trakem2.display.Patch", p, t.id as long, t.title, t.width as float, t.height as float, at,
                    t.coordinate_transform ? 77L : 0L)
                layer.add(patch)
                patch.setLocked(t.locked)
                patch.setVisible(t.visible)
                fs.paths[t.id as long] = t.path == null ? null : t.path + (t.slice ? "-----#slice=" + t.slice : "")
                if (new File(t.path ?: "").isFile()) patch.image = IJ.openImage(t.path).getProcessor()
            }
            if (g.shown) made("ini.trakem2.display.Display", set.layers[0])
            """,  # noqa: E501
            said=said,
            file=bool(said["path"]),
            shown=shown,
            canvas=canvas,
        )

    def matrices(self, project: int = 0) -> dict[str, list[float]]:
        """Tile id to where it lies."""
        found: dict[str, list[float]] = self.groovy(
            "out = tiles(projects()[g.n]).collectEntries { [it.id, numbers(it.affineTransform)] }", n=project
        )
        return found

    def facts(self, project: int = 0) -> dict[str, Any]:
        """What else became of a project."""
        found: dict[str, Any] = self.groovy(
            """
            def p = projects()[g.n], set = p.rootLayerSet, display = type("ini.trakem2.display.Display")
            out = [broken: type("ini.trakem2.Project").violations, half: set.isPairOpen(), canvas: [set.layerWidth, set.layerHeight],
                   changed: p.loader.hasChanges(), locked: p.timesLocked, input: p.isInputEnabled(), canUndo: set.canUndo(),
                   mipmaps: tiles(p).sum { it.mipmapsUpdated }, updated: display.updated.size(), repainted: display.repainted.size(),
                   notes: set.layers.collectMany { it.getDisplayables(type("ini.trakem2.display.VectorData"), false, true) }
                       .plus(set.getZDisplayables(type("ini.trakem2.display.VectorData"), true))
                       .collectEntries { [it.title, [it.affineTransform.translateX, it.affineTransform.translateY]] }]
            """,  # noqa: E501
            n=project,
        )
        return found

    def undo(self, steps: int = 1) -> None:
        """Press Ctrl+Z."""
        assert self.groovy("g.n.times { out = projects()[0].rootLayerSet.undoOneStep() }", n=steps)

    def redo(self) -> None:
        """Press Shift+Ctrl+Z."""
        assert self.groovy("out = projects()[0].rootLayerSet.redoOneStep()")

    def note(self, x: float, y: float, *, deep: bool = False) -> None:
        """Write a label at a point of the first layer; ``deep``: a tree that crosses layers instead."""
        self.groovy(
            """
            def p = projects()[0], set = p.rootLayerSet
            def layer = set.layers[0], x = g.x as double, y = g.y as double
            if (g.deep) set.add(made("ini.trakem2.display.ZDisplayable", p, 901L, x, y, [layer]))
            else layer.add(made("ini.trakem2.display.DLabel", p, 900L, "label", x, y))
            """,
            x=x,
            y=y,
            deep=deep,
        )


@contextmanager
def doubled(session: Session) -> Iterator[OpenTrakEM2]:
    """TrakEM2's double, found as in Fiji: by the class loader of the threads. Everything is closed afterwards."""
    trakem2 = OpenTrakEM2(session)
    trakem2.groovy(
        f"""
        if (loader == null) {{
            loader = new GroovyClassLoader(Thread.currentThread().contextClassLoader)
            loader.addClasspath(g.folder)
            IJ.setProperty("{KEY}", loader)
        }}
        type("ini.trakem2.Project").closeAll()
        type("ini.trakem2.display.Patch").drawn.clear()
        IJ.getClassLoader()  // which keeps the one it first finds
        everywhere(loader.parent, loader)
        forget()  // the menu keeps its classes, and they know what was there when they were loaded
        """,
        folder=str(DOUBLES),
    )
    try:
        yield trakem2
    finally:
        trakem2.groovy('type("ini.trakem2.Project").closeAll(); everywhere(loader, loader.parent); forget()')
