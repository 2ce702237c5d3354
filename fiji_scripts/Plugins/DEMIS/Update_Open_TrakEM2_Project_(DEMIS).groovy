#@script(label="Update Open TrakEM2 Project (DEMIS)", description="Move the tiles of the project that is open in TrakEM2 to where a solved layout puts them. One Undo takes it back; no file is written.", headless=true)
#@ File (label="Solved project (NAME.demis.xml), run folder or solution.json (empty = NAME.demis.xml beside the open project)", style="both", required=false, persist=false) solved
#@ String (label="Open project (empty = the one in front)", value="", required=false, persist=false, description="Its title, file name or path") project
#@ String (label="Layers", choices={"front layer","all layers"}, value="front layer", style="radioButtonHorizontal", persist=false) layers
#@ Boolean (label="Annotations move with the tiles below them", value=true, persist=false, description="Areas, trees, labels ... Slow where areas are large. Without this they stay behind") annotations
#@ String (label="Canvas", choices={"grow to the right and down","grow to all sides (moves the origin)","leave as it is"}, value="grow to the right and down", persist=false, description="Where the moved tiles do not fit") canvas
#@ String (label="If tiles were moved since they were solved", choices={"change nothing","apply anyway"}, value="change nothing", persist=false) changedTiles
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result
#@output Integer moved

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

moved = 0
result = demis.run("Update Open TrakEM2 Project") {
    def open = demis.getClass().classLoader.loadClass("OpenProject")
    def given = demis.inputs
    def which = given.choice("Layers", layers, open.LAYERS)
    def room = given.choice("Canvas", canvas, open.CANVAS)
    def anyway = given.choice("If tiles were moved", changedTiles, ["change nothing", "apply anyway"]) == "apply anyway"
    def done = open.update(demis, [
        solved: given.blank(solved) ? null : given.fileOrFolder("Solved layout", solved),
        project: project, layers: which, annotations: annotations, canvas: room, anyway: anyway, python: python])
    moved = done.moved as Integer
    done.sentence
}
