#@script(label="Align Sections (DEMIS)", description="Align the sections of a volume to each other", headless=true)
#@ File (label="Layout file or folder of sections", style="both", persist=false) layout
#@ File (label="Run folder (empty = beside the layout)", style="directory", required=false, persist=false) out
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Align Sections") {
    def given = demis.inputs
    def done = demis.ask("align", [
        layout: given.fileOrFolder("Layout", layout),
        out: given.pathOrNull("Run folder", out),
    ], python)
    "Align Sections: done. ${done.report ? 'Report: ' + done.report + '.' : ''}"
}
