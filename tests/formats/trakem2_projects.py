"""Hand-made TrakEM2 projects for the tests, and a generator of untidy ones."""

from __future__ import annotations

from hypothesis import strategies as st

DOCTYPE = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE trakem2_anything [
\t<!ELEMENT trakem2 (project,t2_layer_set,t2_display)>
\t<!ELEMENT project (anything)>
\t<!ELEMENT anything EMPTY>
] >
"""
UNUID = "1764547200000.123456789.987654321"
PROJECT = f"""<trakem2>
\t<project id="0" title="demo" unuid="{UNUID}" mipmaps_folder="trakem2.{UNUID}/trakem2.mipmaps/" storage_folder=""
\t\tmipmaps_format="4">
\t\t<anything id="2" expanded="true"/>
\t</project>
"""
LAYER_SET = """\t<t2_layer_set oid="3" width="20.0" height="20.0" transform="matrix(1.0,0.0,0.0,1.0,0.0,0.0)"
\t\ttitle="Top Level" links="" layer_width="1910.0" layer_height="1034.0">
"""
CALIBRATION = """\t\t<t2_calibration pixelWidth="4.0" pixelHeight="4.0" pixelDepth="40.0" unit="nm"/>
"""
END = "\t</t2_layer_set>\n</trakem2>\n"


def patch(
    oid="5", transform="matrix(1.0,0.0,0.0,1.0,0.0,0.0)", path="tiles/a.tif", extra="", inside="", size=(1024, 1024)
):
    w, h = size
    return (
        f'\t\t\t<t2_patch oid="{oid}" width="{w}.0" height="{h}.0" transform="{transform}"{extra} title="t" links=""'
        f' type="0"\n\t\t\t\tfile_path="{path}" style="fill-opacity:1.0;stroke:#ffff00;" o_width="{w}"'
        f' o_height="{h}" min="0.0" max="255.0" mres="32">\n{inside}\t\t\t</t2_patch>\n'
    )


def layer(*inside, oid="4", z="0.0"):
    return (
        f'\t\t<t2_layer oid="{oid}"\n\t\t\t thickness="10.0"\n\t\t\t z="{z}"\n\t\t\t title=""\n\t\t>\n'
        + "".join(inside)
        + "\t\t</t2_layer>\n"
    )


def project(*inside, calibration=CALIBRATION):
    return DOCTYPE + "\n" + PROJECT + LAYER_SET + calibration + "".join(inside) + END


def transforms(*pairs):
    lines = "".join(f'\t\t\t\t\t<iict_transform class="mpicbg.trakem2.transform.{c}" data="{d}"/>\n' for c, d in pairs)
    return f"\t\t\t\t<ict_transform_list>\n{lines}\t\t\t\t</ict_transform_list>\n"


PATCH_6 = patch(
    "6",
    "matrix(0.999847695,0.0174524064,-0.0174524064,0.999847695,885.5,8.25)",
    "tiles/t_r0_c1.tif",
    inside=transforms(("AffineModel2D", "1.0 0.002 0.001 1.0 0.0 0.0"), ("TranslationModel2D", "-0.5 -0.5")),
)

# --- untidy projects ------------------------------------------------------------------------------------------------

numbers = st.floats(-1e4, 1e4).map(lambda v: round(v, 6))
names = st.text("abcXYZ019 _-[]()'äé", min_size=1, max_size=8).map(lambda s: f"x{s}.tif")


@st.composite
def patches(draw, oid):
    """An untidy patch: any attribute order, quotes, case and white space; CDATA and comments inside."""
    angle = draw(st.floats(-0.2, 0.2))
    matrix = [1.0 + angle / 10, angle, -angle, 1.0 - angle / 7, draw(numbers), draw(numbers)]
    locked = draw(st.booleans())
    attributes = {
        "oid": str(oid),
        "transform": f"matrix({','.join(map(repr, matrix))})",
        "file_path": draw(names).replace("'", "&apos;"),
        "o_width": "100",
        "o_height": "80",
        "width": "100.0",
        "height": "80.0",
        "title": draw(st.sampled_from(["t", "a > b", "x='1' oid='7'", "^#^"])),
    }
    if locked:
        attributes["locked"] = "true"
    parts = []
    for key in draw(st.permutations(list(attributes))):
        text = attributes[key]
        quote = draw(st.sampled_from("\"'")) if "'" not in text else '"'
        name = draw(st.sampled_from([key, key, key.upper()]))
        gap = draw(st.sampled_from([" ", "\n\t", "  "]))
        equals = draw(st.sampled_from(["=", " = "]))
        parts.append(f"{gap}{name}{equals}{quote}{text}{quote}")
    body = "<t2_patch" + "".join(parts) + draw(st.sampled_from(["", " "]))
    inside = draw(
        st.sampled_from(
            [
                None,
                "",
                '<!-- <t2_patch oid="5" transform="matrix(9,9,9,9,9,9)"> -->',
                '<t2_annot><![CDATA[<t2_patch oid="5" transform="matrix(9,9,9,9,9,9)">]]></t2_annot>',
                transforms(("AffineModel2D", "1.01 0.002 0.001 0.99 3.0 -4.0"), ("TranslationModel2D", "1.5 -0.5")),
            ]
        )
    )
    return body + "/>\n" if inside is None else f"{body}>{inside}</t2_patch>\n"


@st.composite
def projects(draw):
    """The bytes of an untidy project of one to three layers, tiles of unique oids."""
    oid = 5
    layers = []
    for i in range(draw(st.integers(1, 3))):
        tiles = []
        for _ in range(draw(st.integers(1, 3))):
            tiles.append(draw(patches(oid)))
            oid += 1
        layers.append(layer(*tiles, oid=str(900 + i), z=draw(st.sampled_from(["0.0", "1.5", "-2.0"]))))
    text = project(*layers)
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text.encode("iso-8859-1")
