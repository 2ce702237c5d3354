#@script(label="Compare With SIFT (DEMIS)", description="The same layout by LoFTR and by SIFT, and as the file has it: a table, and mosaics with their seams side by side", headless=true)
#@ File (label="Layout file or folder of tiles", style="both", persist=false) layout
#@ String (label="Layers or sections (empty = all)", value="", required=false, persist=false, description="Several with commas") layers
#@ String (label="Expected transformation", choices={"translation","rigid","similarity","affine","homography"}, value="rigid", persist=false, description="What a tile may do") expectedTransformation
#@ String (label="Maximal alignment error (px)", value="4", persist=false, description="Matches farther off are outliers. TrakEM2's default of 100 px admits almost anything.") maximalAlignmentError
#@ String (label="Minimal number of inliers", value="8", persist=false) minimalInliers
#@ String (label="Minimal inlier ratio", value="0.15", persist=false) minimalInlierRatio
#@ Boolean (label="Consider largest graph only", value=false, persist=false, description="Move only the tiles of the largest connected group") largestGraphOnly
#@ String (label="Device", choices={"auto","cpu","cuda","mps"}, value="auto", persist=false, description="Where LoFTR runs; auto takes a graphics card when there is one") device
#@ String (label="Format of the layout", choices={"auto","trakem2","tileconfig","render","text"}, value="auto", persist=false, description="auto: found by itself") format
#@ String (label="Tiles of a folder: rows", value="", required=false, persist=false, description="Empty: from the names of the files") rows
#@ String (label="Tiles of a folder: columns", value="", required=false, persist=false, description="Empty: from the names of the files") columns
#@ String (label="Tiles of a folder: overlap (fraction)", value="", required=false, persist=false, description="What neighbours share of a tile; empty: 0.1") overlap
#@ String (label="Tiles of a folder: order", choices={"auto","row","column","snake-row","snake-column"}, value="auto", persist=false) order
#@ String (label="Tiles of a folder: first tile", choices={"auto","top-left","top-right","bottom-left","bottom-right"}, value="auto", persist=false) start
#@ String (label="Tiles of a folder: names", value="", required=false, persist=false, description="For instance tile_{row}_{col}.tif or {i}.png; empty: found by itself") pattern
#@ File (label="Folder of the comparison (empty = beside the layout)", style="directory", required=false, persist=false) out
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result
#@output ij.ImagePlus picture
#@output java.util.List pictures
#@output ij.measure.ResultsTable table

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Compare With SIFT") {
    def given = demis.inputs, stitching = demis.stitching
    def done = demis.ask("compare", [
        layout: given.fileOrFolder("Layout", layout),
        sections: given.names(layers),
        matchers: ["loftr", "sift"],
        model: stitching.transformation(expectedTransformation),
        device: stitching.device(device),
        settings: stitching.settings(maximalAlignmentError, minimalInliers, minimalInlierRatio, largestGraphOnly),
        read: stitching.reading(format, rows, columns, overlap, order, start, pattern),
        out: given.pathOrNull("Folder of the comparison", out),
        never_write: demis.openProjects(),
    ], python)
    pictures = stitching.pictures(demis, done)
    picture = pictures ? pictures[0] : null
    table = demis.results.table(done.table)
    if (!demis.headless) table.show("DEMIS comparison")
    "Compared ${done.pictures.collect { it.name }.unique().join(', ')}. Report: ${done.report}."
}
