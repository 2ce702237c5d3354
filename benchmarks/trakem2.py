"""A TrakEM2 project read, changed and written: how long it takes, and whether every other byte is as it was.

Beside it, in the same run, what a general XML library needs to parse the same file, set the same attributes and write
it again (which loses the DOCTYPE, line ends, quotes, attribute order or encoding: the comparison is of time only).

    python benchmarks/trakem2.py --patches 10000 --rounds 5
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import re
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np

from demis_ij import formats
from demis_ij.formats.trakem2_matrix import format_matrix
from demis_ij.records import Affine

DECLARED = "project anything t2_layer_set t2_calibration t2_layer t2_patch t2_label t2_display t2_filter ict_transform"
HEAD = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE trakem2_anything [
{declared}] >

<trakem2>
	<project
		id="0"
		title="{patches} tiles \xe9"
		unuid="1764547200000.123456789.987654321"
		mipmaps_folder="trakem2.1764547200000.123456789.987654321/trakem2.mipmaps/"
		storage_folder=""
		mipmaps_format="4"
		image_resizing_mode="Area downsampling"
	>
		<anything id="2" expanded="true"/>
	</project>
	<t2_layer_set
		oid="3"
		width="20.0"
		height="20.0"
		transform="matrix(1.0,0.0,0.0,1.0,0.0,0.0)"
		title="Top Level"
		links=""
		layer_width="96000.0"
		layer_height="96000.0"
		snapshots_mode="Full"
	>
		<t2_calibration pixelWidth="4.0" pixelHeight="4.0" pixelDepth="40.0" xOrigin="0.0" yOrigin="0.0" zOrigin="0.0" info="null" valueUnit="Gray Value" timeUnit="sec" unit="nm"/>
"""  # noqa: E501 - as TrakEM2 writes it
PATCH = """			<t2_patch
				oid="{oid}"
				width="{width}.0"
				height="{height}.0"
				transform="{matrix}"
				title="{name}"
				links=""
				type="0"
				file_path="{path}"
				style="fill-opacity:1.0;stroke:#ffff00;"
				o_width="4096"
				o_height="4096"
				min="0.0"
				max="255.0"
				mres="32"
			>
{inside}			</t2_patch>
"""
LENS = """				<ict_transform_list>
					<iict_transform class="mpicbg.trakem2.transform.AffineModel2D" data="1.0 0.002 0.001 1.0 0.0 0.0"/>
					<ict_transform class="mpicbg.trakem2.transform.PolynomialTransform2D" data="0.5 1.0 1.0E-4 1.0E-8 0.0 0.0 0.25 -1.0E-4 1.0 0.0 1.0E-8 0.0"/>
				</ict_transform_list>
"""  # noqa: E501
TAIL = """	</t2_layer_set>
	<t2_display id="7"
		layer_id="4"
		c_magnification="0.1"
	/>
</trakem2>
"""
TRANSFORM = re.compile(rb'(<t2_patch\b[^>]*?\btransform=")[^"]*(")', re.DOTALL)


def write_project(path: Path, patches: int, layers: int, lens_every: int) -> None:
    """Write a project as TrakEM2 does; every ``lens_every``-th patch has a coordinate transform."""
    (path.parent / "tiles").mkdir()
    declared = "".join(
        f"\t<!ELEMENT {name} EMPTY>\n\t<!ATTLIST {name} oid NMTOKEN #REQUIRED>\n" for name in DECLARED.split()
    )
    out = [HEAD.format(declared=declared, patches=patches)]
    side = int(np.ceil(np.sqrt(patches / layers)))
    for n in range(patches):
        layer, i = divmod(n, patches // layers)
        if i == 0:
            out.append("\t\t</t2_layer>\n" if n else "")
            out.append(f'\t\t<t2_layer oid="{4 + layer}"\n\t\t\t thickness="10.0"\n\t\t\t z="{layer}.0"\n\t\t>\n')
        row, column = divmod(i, side)
        matrix = format_matrix(Affine.rigid(1e-4 * (n % 7), 3686.4 * column, 3686.4 * row))
        name = f"t_{layer:03d}_{row:03d}_{column:03d}.tif"
        lens = n % lens_every == 0
        size = 4105 if lens else 4096
        out.append(
            PATCH.format(
                oid=100 + n, width=size, height=size, matrix=matrix, name=name, path=f"tiles/{name}",
                inside=LENS if lens else "",
            )
        )  # fmt: skip
    path.write_bytes("".join([*out, "\t\t</t2_layer>\n", TAIL]).encode("latin-1"))


def ours(path: Path, out: Path) -> tuple[list[float], int]:
    """Return the processor seconds of reading, moving and writing, and how many tiles moved."""
    times = [time.process_time()]
    document = formats.read(path)
    times.append(time.process_time())
    moved = [
        layout.moved({t.id: Affine.translation(3.25, -1.5) @ t.to_world for t in layout}) for layout in document.layouts
    ]
    times.append(time.process_time())
    formats.write_solved(document, moved, out)
    times.append(time.process_time())
    return [b - a for a, b in itertools.pairwise(times)], sum(len(layout) for layout in moved)


def element_tree(path: Path, out: Path) -> None:
    """Parse, set every patch's transform, write: the standard library."""
    tree = ET.parse(path)
    for patch in tree.iter("t2_patch"):
        patch.set("transform", "matrix(1.0,0.0,0.0,1.0,3.25,-1.5)")
    tree.write(out, encoding="ISO-8859-1", xml_declaration=True)


def lxml_tree(path: Path, out: Path) -> None:
    """Parse, set every patch's transform, write: lxml."""
    from lxml import etree

    tree = etree.parse(str(path))
    for patch in tree.iter("t2_patch"):
        patch.set("transform", "matrix(1.0,0.0,0.0,1.0,3.25,-1.5)")
    tree.write(str(out), encoding="ISO-8859-1", xml_declaration=True)


def peers() -> dict[str, Callable[[Path, Path], None]]:
    """Return the peers that this machine has."""
    found: dict[str, Callable[[Path, Path], None]] = {"ElementTree": element_tree}
    try:
        import lxml  # noqa: F401
    except ImportError:
        print("lxml is not installed: it is left out", file=sys.stderr)
    else:
        found["lxml"] = lxml_tree
    return found


def check_bytes(path: Path, out: Path, tiles: int) -> str:
    """Say how two files differ outside the ``transform`` of patches, and how many transforms differ."""
    before, after = path.read_bytes(), out.read_bytes()
    changed = sum(a != b for a, b in zip(TRANSFORM.findall(before), TRANSFORM.findall(after), strict=True))
    if TRANSFORM.sub(rb"\1\2", before) != TRANSFORM.sub(rb"\1\2", after) or changed:
        raise SystemExit(f"{out}: bytes outside the transforms have changed")
    values = [re.findall(rb'<t2_patch\b[^>]*?\btransform="([^"]*)"', data, re.DOTALL) for data in (before, after)]
    different = sum(a != b for a, b in zip(*values, strict=True))
    if different != tiles:
        raise SystemExit(f"{out}: {different} of {tiles} transforms changed")
    return f"{different} transforms changed, every other byte equal"


def measure(patches: int, layers: int, rounds: int, lens_every: int) -> float:
    """Print the table of one project; return the least of our whole time, s."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "p.xml", Path(folder) / "solved.xml"
        write_project(path, patches, layers, lens_every)
        size = path.stat().st_size / 1e6
        others = peers()
        steps: list[list[float]] = []
        peer_times: dict[str, list[float]] = {name: [] for name in others}
        for _ in range(rounds):
            out.unlink(missing_ok=True)
            found, tiles = ours(path, out)
            steps.append(found)
            for name, run in others.items():
                start = time.process_time()
                run(path, Path(folder) / "peer.xml")
                peer_times[name].append(time.process_time() - start)
        said = check_bytes(path, out, tiles)
    read, move, write = min(steps, key=sum)
    whole = read + move + write
    print(f"{patches} patches in {layers} layer(s), {size:.1f} MB: {said}")
    print(f"  read {read:.2f} s, move {move:.2f} s, write {write:.2f} s, together {whole:.2f} s (best of {rounds})")
    for name, times in peer_times.items():
        theirs = min(times)
        print(f"  {name}: parse, set, write {theirs:.2f} s; ours takes {whole / theirs:.1f} times as long")
    return whole


def main() -> None:
    """Measure a project of ten layers and one of a single layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lens-every", type=int, default=10, help="every N-th patch has a coordinate transform")
    parser.add_argument("--limit-s", type=float, help="end with code 1 when a project takes longer")
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    slowest = max(measure(given.patches, layers, given.rounds, given.lens_every) for layers in (10, 1))
    if given.limit_s is not None and slowest > given.limit_s:
        raise SystemExit(f"{slowest:.2f} s, at most {given.limit_s} s were allowed")


if __name__ == "__main__":
    main()
