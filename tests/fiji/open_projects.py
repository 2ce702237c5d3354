"""Solved and open TrakEM2 projects for the tests: the files, and what TrakEM2 would say of them when they are open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from demis_ij import formats
from demis_ij.formats.trakem2_matrix import parse_matrix
from demis_ij.formats.trakem2_open import six
from demis_ij.formats.trakem2_project import Patch, parse_project
from demis_ij.records import Affine
from demis_ij.worker.verbs import transforms

UNUID = "1764547200000.123456789.987654321"
HEAD = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE trakem2_anything [
\t<!ELEMENT trakem2 (project,t2_layer_set,t2_display)>
\t<!ELEMENT project (anything)>
\t<!ELEMENT anything EMPTY>
] >
<trakem2>
\t<project id="0" title="demo" unuid="{UNUID}" mipmaps_folder="trakem2.mipmaps/" storage_folder="" mipmaps_format="4">
\t\t<anything id="2" expanded="true"/>
\t</project>
\t<t2_layer_set oid="3" width="20.0" height="20.0" transform="matrix(1.0,0.0,0.0,1.0,0.0,0.0)" title="Top Level"
\t\tlinks="" layer_width="200.0" layer_height="150.0">
"""
SHEAR = '\t\t\t\t<ict_transform class="mpicbg.trakem2.transform.AffineModel2D" data="1.0 0.02 0.0 1.0 4.0 2.0"/>\n'


def patch_xml(oid: int, x: float, y: float, name: str, *, ct: str = "", extra: str = "") -> str:
    """A patch of 100 x 80 px; with a coordinate transform its box is 100 x 82."""
    height = 82 if ct else 80
    return (
        f'\t\t\t<t2_patch oid="{oid}" width="100.0" height="{height}.0" transform="matrix(1.0,0.0,0.0,1.0,{x},{y})"'
        f'{extra} title="{name}" links="" type="0" file_path="tiles/{name}" o_width="100" o_height="80" mres="32">\n'
        f"{ct}\t\t\t</t2_patch>\n"
    )


def project_xml(*layers: list[str]) -> str:
    """A project of some layers of patches; the layer at z has the oid 1000 + z."""
    inside = "".join(
        f'\t\t<t2_layer oid="{1000 + z}" thickness="1.0" z="{z}.0" title="">\n{"".join(patches)}\t\t</t2_layer>\n'
        for z, patches in enumerate(layers)
    )
    return HEAD + inside + "\t</t2_layer_set>\n</trakem2>\n"


def four_tiles(folder: Path) -> Path:
    """A project of four tiles in one layer (oids 5 to 8, the last with a coordinate transform); no image is there."""
    path = folder / "p.xml"
    tiles = [patch_xml(5 + i, 90.0 * i, 0.0, f"t{i}.tif") for i in range(3)]
    path.write_text(project_xml([*tiles, patch_xml(8, 270.0, 3.0, "t3.tif", ct=SHEAR)]), encoding="latin-1")
    return path


def solve(path: Path, **shifts: tuple[float, float]) -> Path:
    """Write the solved copy of a project in which tiles ``t5=(dx, dy)`` were moved."""
    document = formats.read(path)
    tiles = {t.id: t for layout in document.layouts for t in layout}
    new = {f[1:]: Affine.translation(*xy) @ tiles[f[1:]].to_world for f, xy in shifts.items()}
    return formats.write_solved(document, [layout.moved(new) for layout in document.layouts])


def matrices(path: Path) -> dict[str, list[float]]:
    """The matrices of a project's patches by oid, in TrakEM2's order."""
    project = parse_project(path, path.read_bytes())
    return {p.oid: six(parse_matrix(path, p)) for layer in project.layers for p in layer.patches}


def as_open(path: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    """What TrakEM2 says of a project that is open; ``t5={"locked": True}`` changes a tile, ``=None`` drops it."""
    project = parse_project(path, path.read_bytes())
    said = [_said(path, layer.z, patch) for layer in project.layers for patch in layer.patches]
    said = [s | (changes.get(f"t{s['id']}", {}) or {}) for s in said if changes.get(f"t{s['id']}", {}) is not None]
    return {"unuid": project.attributes["unuid"], "path": str(path), "title": "demo", "patches": said}


def _said(path: Path, z: float, patch: Patch) -> dict[str, Any]:
    given = patch.attributes
    return {
        "id": patch.oid,
        "title": given["title"],
        "path": str(path.parent / given["file_path"]),
        "slice": None,
        "matrix": six(parse_matrix(path, patch)),
        "width": float(given["width"]),
        "height": float(given["height"]),
        "coordinate_transform": bool(patch.specs),
        "locked": given.get("locked") == "true",
        "visible": given.get("visible") != "false",
        "layer": z,
    }


def ask(solved: Path, said: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Run the verb; its outputs, and the new matrices by id."""
    listed = folder / "open.json"
    listed.write_text(json.dumps(said), encoding="utf-8")
    given = transforms.VERB.checked("transforms", {"solved": str(solved), "patches": str(listed)})
    done = transforms.VERB.run(given, lambda *_: None)  # type: ignore[arg-type]
    moves = json.loads(Path(done["file"]).read_text(encoding="utf-8"))["moves"]
    return done, {m["id"]: m["matrix"] for m in moves}
