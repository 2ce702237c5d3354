#@script(label="Check Installation (DEMIS)", description="What this Fiji and its Python have, and what to do about what is missing", headless=true)
#@ String (label="Python (empty = the stored one)", visibility=INVISIBLE, value="", required=false, persist=false) python
#@ Context context
#@output String result
#@output ij.measure.ResultsTable findings

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Check Installation") {
    def rows = demis.checks.own(demis)
    try {
        rows += demis.checks.python(demis, python)
    } finally {
        findings = demis.results.table(rows)
        if (!demis.headless) findings.show("DEMIS installation")
    }
    demis.checks.sentence(rows)
}
