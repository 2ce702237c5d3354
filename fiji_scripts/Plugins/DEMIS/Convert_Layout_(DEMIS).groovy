#@script(label="Convert Layout (DEMIS)", description="Write a layout in another format; nothing is ever overwritten", headless=true)
#@ File (label="Layout file or folder of tiles", style="both", persist=false) layout
#@ File (label="Write to (its name says the format)", style="save", persist=false, description="NAME.xml: TrakEM2, NAME.json: Render, NAME.txt: see Format of the new file") to
#@ String (label="Format of the new file", choices={"auto","trakem2","tileconfig","render","text"}, value="auto", persist=false) newFormat
#@ Boolean (label="Write even what the new format cannot hold", value=false, persist=false) lossy
#@ String (label="Format of the layout", choices={"auto","trakem2","tileconfig","render","text"}, value="auto", persist=false, description="auto: found by itself") format
#@ String (label="Tiles of a folder: rows", value="", required=false, persist=false, description="Empty: from the names of the files") rows
#@ String (label="Tiles of a folder: columns", value="", required=false, persist=false, description="Empty: from the names of the files") columns
#@ String (label="Tiles of a folder: overlap (fraction)", value="", required=false, persist=false, description="What neighbours share of a tile; empty: 0.1") overlap
#@ String (label="Tiles of a folder: order", choices={"auto","row","column","snake-row","snake-column"}, value="auto", persist=false) order
#@ String (label="Tiles of a folder: first tile", choices={"auto","top-left","top-right","bottom-left","bottom-right"}, value="auto", persist=false) start
#@ String (label="Tiles of a folder: names", value="", required=false, persist=false, description="For instance tile_{row}_{col}.tif or {i}.png; empty: found by itself") pattern
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Convert Layout") {
    def given = demis.inputs
    def to_format = given.choice("Format of the new file", newFormat, ["auto", "trakem2", "tileconfig", "render", "text"])
    def done = demis.ask("convert", [
        layout: given.fileOrFolder("Layout", layout),
        to: given.newFile("Write to", to),
        format: to_format == "auto" ? null : to_format,
        lossy: lossy,
        read: demis.stitching.reading(format, rows, columns, overlap, order, start, pattern),
    ], python)
    "Written: ${done.path}."
}
