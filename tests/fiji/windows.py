"""Run commands of the menu where there is a screen, and print what was opened: one JSON object."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from demis_ij import imagej

OPENED = """
#@output String told
import groovy.json.JsonOutput
import ij.WindowManager
def images = (WindowManager.IDList ?: []).collect { WindowManager.getImage(it) }.collect {
    def seen = it.canvas.srcRect, place = it.window.bounds
    [title: it.title, width: it.width, height: it.height, shown: [seen.width, seen.height], marks: it.overlay?.size(),
     screen: [place.x, place.y, place.x + place.width, place.y + place.height]]
}
told = JsonOutput.toJson([images: images, tables: WindowManager.nonImageTitles as List, log: ij.IJ.getLog(),
                           opened: System.getProperty('opened')])
"""


TRAKEM2 = """
package ini.trakem2
class Project {
    static Project openFSProject(String path, boolean arrange) { System.setProperty("opened", path); null }
}
"""


def main() -> None:
    menu, layout = Path(sys.argv[1]), Path(sys.argv[2])
    session = imagej.start(headless=False)
    session.run_script("#@output String x\nif (ij.IJ.getInstance() == null) new ij.ImageJ()\nx = ''\n")
    script = menu / "Stitch_Layout_(DEMIS).groovy"
    double = menu / "lib" / "ini" / "trakem2" / "Project.gvy"
    double.parent.mkdir(parents=True)
    double.write_text(TRAKEM2, encoding="ascii")
    stitch = menu / "Stitch_TrakEM2_Project_(DEMIS).groovy"
    done = session.run_script(stitch, {"project": layout, "matcher": "SIFT", "openSolved": True})
    failed = session.run_script(script, {"layout": layout.parent / "nothing", "matcher": "SIFT"})
    told = json.loads(session.run_script(OPENED)["told"])
    sys.stdout.write("\n" + json.dumps({**told, "done": done["result"], "failed": failed["result"]}) + "\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
