#@script(label="Register Images (DEMIS)", description="Register two images of one specimen, also of different instruments: turn, scale, shift and bend", headless=true)
#@ File (label="Fixed image", style="both", persist=false, description="An image file, or the folder of an OME-Zarr") fixed
#@ File (label="Moving image", style="both", persist=false, description="The image that is brought onto it") moving
#@ String (label="Method", choices={"auto","network","search","sift","ecc","log-polar","elastix"}, value="auto", persist=false, description="auto: the network's start, then a search where that does not hold, then an exact fit; the last four are what the field uses otherwise") method
#@ String (label="Expected transformation", choices={"rigid","similarity","affine","elastic"}, value="similarity", persist=false, description="rigid: turn and shift; similarity: and scale; elastic: and bend") expectedTransformation
#@ String (label="Style", choices={"none","tissue","steel","fluorescence"}, value="none", persist=false, description="Makes one image look like the other before they are compared: light to electrons of tissue or of steel, electrons to fluorescence; what is registered is the image as it came") style
#@ File (label="Style of your own (empty = as above)", style="open", required=false, persist=false, description="Weights that demis-ij train style has made") styleWeights
#@ File (label="Landmarks (empty = none)", style="open", required=false, persist=false, description="Points known to be the same, for elastic: CSV with fixed_x, fixed_y, moving_x, moving_y, or bUnwarpJ's file") landmarks
#@ String (label="Range", choices={"wide","near"}, value="wide", persist=false, description="near: turns to 35 degrees, scales 0.7 to 1.43; wide: any turn, scales 0.5 to 2, when nothing is found near") range
#@ String (label="Pixel size of the fixed image", value="", required=false, persist=false, description="In one unit for both images; empty: what the files say") fixedPixelSize
#@ String (label="Pixel size of the moving image", value="", required=false, persist=false) movingPixelSize
#@ File (label="Run folder (empty = beside the moving image)", style="directory", required=false, persist=false) out
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result
#@output ij.ImagePlus picture
#@output java.util.List pictures
#@output ij.measure.ResultsTable transform

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Register Images") {
    def given = demis.inputs, registering = demis.registering
    def done = demis.ask("register", [
        fixed: given.fileOrFolder("Fixed image", fixed),
        moving: given.fileOrFolder("Moving image", moving),
        method: registering.method(method),
        model: registering.model(expectedTransformation),
        style: registering.style(style, given.pathOrNull("Style of your own", styleWeights)),
        landmarks: given.pathOrNull("Landmarks", landmarks),
        settings: registering.settings(range, fixedPixelSize, movingPixelSize),
        out: given.pathOrNull("Run folder", out),
    ], python)
    pictures = registering.pictures(demis, done)
    picture = pictures ? pictures[0] : null
    transform = registering.row(demis, done)
    registering.sentence(done)
}
