#@script(label="Stitch TrakEM2 Project (DEMIS)", description="Solve where the tiles of a TrakEM2 project lie. A solved copy is written beside it; the project itself is never changed.", headless=true)
#@ File (label="TrakEM2 project (.xml, .xml.gz)", style="open,extensions:xml/gz", persist=false) project
#@ String (label="Layers (empty = all)", value="", required=false, persist=false, description="As the project names them; several with commas") layers
#@ String (label="Matcher", choices={"auto","LoFTR","SIFT","correlation"}, value="auto", persist=false, description="auto: LoFTR, and SIFT or correlation for pairs that it leaves open") matcher
#@ String (label="Expected transformation", choices={"translation","rigid","similarity","affine","homography"}, value="rigid", persist=false, description="What a tile may do") expectedTransformation
#@ String (label="Maximal alignment error (px)", value="4", persist=false, description="Matches farther off are outliers. TrakEM2's default of 100 px admits almost anything.") maximalAlignmentError
#@ String (label="Minimal number of inliers", value="8", persist=false) minimalInliers
#@ String (label="Minimal inlier ratio", value="0.15", persist=false) minimalInlierRatio
#@ Boolean (label="Consider largest graph only", value=false, persist=false, description="Move only the tiles of the largest connected group") largestGraphOnly
#@ String (label="Device", choices={"auto","cpu","cuda","mps"}, value="auto", persist=false, description="Where LoFTR runs; auto takes a graphics card when there is one") device
#@ Boolean (label="Include hidden tiles", value=false, persist=false) includeHidden
#@ Boolean (label="Move images only (annotations stay behind)", value=false, persist=false, description="Without this a project with annotations is refused") imagesOnly
#@ File (label="Folder of moved images (empty = paths are right)", style="directory", required=false, persist=false) relink
#@ File (label="Run folder (empty = beside the project)", style="directory", required=false, persist=false) out
#@ Boolean (label="Open the solved project in TrakEM2 when done", value=false, persist=false) openSolved
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result
#@output ij.ImagePlus picture
#@output java.util.List pictures
#@output ij.measure.ResultsTable seams

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Stitch TrakEM2 Project") {
    def given = demis.inputs, stitching = demis.stitching
    def done = demis.ask("stitch", [
        layout: given.file("TrakEM2 project", project),
        sections: given.names(layers),
        matcher: stitching.matcher(matcher),
        model: stitching.transformation(expectedTransformation),
        device: stitching.device(device),
        settings: stitching.settings(maximalAlignmentError, minimalInliers, minimalInlierRatio, largestGraphOnly),
        include_hidden: includeHidden,
        images_only: imagesOnly,
        relink: given.folderOrNull("Folder of moved images", relink),
        out: given.pathOrNull("Run folder", out),
        read: [format: "trakem2"],
        never_write: demis.openProjects(),
    ], python)
    pictures = stitching.pictures(demis, done)
    picture = pictures ? pictures[0] : null
    seams = stitching.seams(demis, done)
    if (openSolved) demis.openInTrakEM2(done.project)
    stitching.sentence(done)
}
