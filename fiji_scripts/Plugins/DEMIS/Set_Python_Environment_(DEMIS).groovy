#@script(label="Set Python Environment (DEMIS)", description="Choose the Python that has demis_ij; it is asked before it is stored", headless=true)
#@ String (label="Which", choices={"an interpreter or the folder of an environment","build one with Appose"}, value="an interpreter or the folder of an environment", style="radioButtonVertical", persist=false) way
#@ File (label="Interpreter, or folder of an environment", style="both", required=false, persist=false, description="python or python.exe; or the folder of a venv, of a conda environment, or of a pixi project") environment
// never given: with one more open input SciJava does not ask for a lone File that was left out
#@ String (visibility=INVISIBLE, value="", required=false, persist=false) unused
#@ Context context
#@output String result

def folder = new File(getBinding().getVariable("org.scijava.script.ScriptModule").info.getURL().toURI()).parentFile
def demis = new GroovyClassLoader(getClass().classLoader).parseClass(new File(folder, "lib/Demis.gvy")).start(folder, context, getBinding())

result = demis.run("Set Python Environment") {
    def given = demis.inputs, pythons = demis.pythons
    def choices = ["an interpreter or the folder of an environment", "build one with Appose"]
    def python = given.choice("Which", way, choices) == choices[0]
        ? pythons.interpreter(given.fileOrFolder("Interpreter or folder of an environment", environment))
        : pythons.built(demis)
    def (_, version, demisVersion) = pythons.asked(python)
    def done = demis.ask("check", [:], python)
    demis.warnings.addAll(demis.checks.problems(done.findings))
    def where = pythons.store(folder, python)
    "Python ${version} with demis_ij ${demisVersion} is used from now on: ${python} (stored in ${where})."
}
