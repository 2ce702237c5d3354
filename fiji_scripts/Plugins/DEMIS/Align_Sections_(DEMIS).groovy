#@script(label="Align Sections (DEMIS)", description="Align the sections of a stack to each other: a folder of images, a multi-page TIFF, a TrakEM2 project with one image a layer, or an OME-Zarr", headless=true)
#@ File (label="Stack: file or folder", style="both", persist=false, description="A multi-page TIFF, a TrakEM2 project or another layout with one image a section, a folder of images, or an OME-Zarr") stack
#@ String (label="Method", choices={"joint","ssemnet","chain:affine","chain:flow","chain:bspline"}, value="joint", persist=false, description="joint: all sections at once; ssemnet: the paper's; chains bring each section onto the one before, and drift") method
#@ String (label="Compare with sections up to this far", value="2", persist=false, description="2: with two on each side") neighbours
#@ String (label="Smoothness (px)", value="", required=false, persist=false, description="More bends less; empty: from the size of the sections") smoothness
#@ String (label="First section number", value="", required=false, persist=false, description="Empty: from the first on") first
#@ String (label="Last section number", value="", required=false, persist=false, description="Empty: to the last") last
#@ Boolean (label="Volume as TIFF for ImageJ", value=true, persist=false, description="It is opened here") tiff
#@ Boolean (label="Volume as OME-Zarr", value=false, persist=false, description="For other programs, and for volumes larger than memory") zarr
#@ File (label="Run folder (empty = beside the stack)", style="directory", required=false, persist=false) out
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result
#@output ij.ImagePlus picture
#@output ij.measure.ResultsTable sections

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Align Sections") {
    def given = demis.inputs, aligning = demis.aligning
    def done = demis.ask("align", [
        layout: given.fileOrFolder("Stack", stack),
        method: aligning.method(method),
        settings: aligning.settings(neighbours, smoothness),
        first: given.numberOrNull("First section number", first, -1e9, 1e9),
        last: given.numberOrNull("Last section number", last, -1e9, 1e9),
        volume: aligning.volumes(tiff, zarr),
        out: given.pathOrNull("Run folder", out),
    ], python)
    picture = aligning.picture(demis, done)
    sections = aligning.sections(demis, done)
    aligning.sentence(done)
}
