#@script(label="Register Images (DEMIS)", description="Register two images of one specimen", headless=true)
#@ File (label="Fixed image", style="open", persist=false) fixed
#@ File (label="Moving image", style="open", persist=false) moving
#@ File (label="Run folder (empty = beside the moving image)", style="directory", required=false, persist=false) out
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Register Images") {
    def given = demis.inputs
    def done = demis.ask("register", [
        fixed: given.file("Fixed image", fixed),
        moving: given.file("Moving image", moving),
        out: given.pathOrNull("Run folder", out),
    ], python)
    "Register Images: done. ${done.report ? 'Report: ' + done.report + '.' : ''}"
}
