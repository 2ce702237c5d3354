#@script(label="Render Layer With TrakEM2 (DEMIS)", description="Draw a layer of the open project by TrakEM2 from the original images, as a TIFF that knows where it lies, to compare with a mosaic", headless=true)
#@ File (label="Write to (.tif)", style="save,extensions:tif", persist=false) to
#@ String (label="Open project (empty = the one in front)", value="", required=false, persist=false, description="Its title, file name or path") project
#@ String (label="Layer z (empty = the one that is shown)", value="", required=false, persist=false) z
#@ String (label="Region x, y, width, height (empty = all tiles)", value="", required=false, persist=false, description="In the project's pixels") region
#@ Double (label="Scale", value=1, min=0.001, max=1, stepSize=0.05, style="format:0.000", persist=false) scale
#@ String (label="Pixels", choices={"8-bit","16-bit","32-bit","RGB"}, value="8-bit", persist=false) pixels
#@ Boolean (label="Through the display range", value=false, persist=false, description="Grey values as shown; without this they are those of the files") displayRange
#@ Boolean (label="Include hidden tiles", value=false, persist=false) includeHidden
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ Context context
#@output String result
#@output ij.ImagePlus picture

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Render Layer With TrakEM2") {
    def open = demis.getClass().classLoader.loadClass("OpenProject")
    def given = demis.inputs
    def done = open.render(demis, [
        to: given.newFile("Write to", to),
        project: project,
        z: given.numberOrNull("Layer z", z, -1e12, 1e12),
        region: given.names(region)?.collect { given.whole("Region", it, -1000000000, 1000000000) },
        scale: given.number("Scale", scale, 0.001, 1),
        pixels: given.choice("Pixels", pixels, open.PIXELS),
        displayRange: displayRange,
        includeHidden: includeHidden])
    picture = done.picture
    done.sentence
}
