#@script(label="Show Matches (DEMIS)", description="The worst pairs of a finished run as stacks of two slices, with a line for each match, coloured by its residual", headless=true)
#@ File (label="Run folder (NAME.demis, made by Stitch)", style="directory", persist=false) run
#@ String (label="How many of the worst pairs", value="5", persist=false) worst
#@ String (label="Or one pair: tile A", value="", required=false, persist=false) fixed
#@ String (label="Or one pair: tile B", value="", required=false, persist=false) moving
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result
#@output ij.ImagePlus picture
#@output java.util.List pictures
#@output ij.measure.ResultsTable pairs

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Show Matches") {
    def given = demis.inputs, results = demis.results
    def done = demis.ask("matches", [
        run: given.folder("Run folder", run),
        worst: given.whole("How many of the worst pairs", worst, 1, 50),
        fixed: given.blank(fixed) ? null : fixed.trim(),
        moving: given.blank(moving) ? null : moving.trim(),
    ], python)
    pictures = done.stacks.collect { results.pair(it) }
    picture = pictures ? pictures[0] : null
    if (!demis.headless) results.showTiled(pictures)
    pairs = results.table(done.pairs)
    if (!demis.headless) pairs.show("DEMIS pairs")
    "${done.pairs.size()} pairs; shown: ${done.stacks.collect { it.fixed + ' - ' + it.moving }.join(', ')}."
}
