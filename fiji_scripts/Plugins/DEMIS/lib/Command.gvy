import ij.IJ
import org.scijava.log.LogService
import org.scijava.task.TaskService
import org.scijava.ui.DialogPrompt
import org.scijava.ui.UIService
import org.scijava.ui.UserInterface
import org.scijava.ui.headless.HeadlessUI

/** What one command of the menu does around its own work: log, progress, dialogs, and the sentence at the end. */
class Command {
    static final String VERSION = "0.1.0"
    static final int SHOWN_WARNINGS = 5

    final File folder
    final LogService log
    final UIService ui
    final TaskService tasks
    final Binding binding
    String name = ""
    List<String> warnings = []

    Command(File folder, Object context, Binding binding) {
        this.folder = folder
        this.binding = binding
        log = context.getService(LogService)
        ui = context.getService(UIService)
        tasks = context.getService(TaskService)
    }

    /** Whether nothing can be shown. */
    boolean isHeadless() {
        return ui == null || ui.isHeadless()
    }

    /** The checks of what a script was given, for scripts: they do not know the class by its name. */
    Class getInputs() { Inputs }

    /** What the commands that stitch share. */
    Class getStitching() { Stitching }

    /** What Align Sections needs. */
    Class getAligning() { Aligning }

    /** What Register Images needs. */
    Class getRegistering() { Registering }

    /** Pictures and tables. */
    Class getResults() { Results }

    /** Which Python is used, and where that is stored. */
    Class getPythons() { Pythons }

    /** What is looked at by Check Installation. */
    Class getChecks() { Checks }

    /**
     * Do a command's work and say how it ended.
     *
     * @param name the command, as in the menu
     * @param work returns one sentence; throws Problem or Stopped
     * @return the sentence, "stopped; ..." or "FAILED: ..."
     */
    String run(String name, Closure work) {
        this.name = name
        println("demis_ij: ${name}: begins")
        String said
        try {
            said = work.call() as String
            succeed(said)
        } catch (Stopped stop) {
            said = stop.message
            log.info("demis_ij: ${name}: ${said}")
            IJ.showStatus("demis_ij: " + said)
        } catch (Problem problem) {
            said = fail(problem.message, problem.detail)
        } catch (IllegalStateException problem) {
            said = fail(problem.message, traceOf(problem))
        } catch (Throwable error) {
            said = fail("${name} failed in the menu's own code, please report it: ${error}.", traceOf(error))
        }
        println("demis_ij: ${name}: ends: ${said}")
        ownOutputs()
        return said
    }

    /** Have the worker do a verb; progress and the stop button are a task of SciJava. Return the outputs. */
    Map ask(String verb, Map inputs, Object python) {
        Object bar = tasks.createTask("demis_ij: " + name)
        try {
            bar.start()
            if (IJ.getInstance() != null) IJ.resetEscape()
            bar.setStatusMessage("starting Python")
            Map done = Worker.of(Pythons.chosen(folder, python), VERSION).ask(verb, inputs, bar)
            warnings.addAll(((done.warnings ?: []) as List).collect { it as String })
            return done
        } finally {
            bar.finish()
            IJ.showProgress(1.0d)
        }
    }

    /** Projects that are open in TrakEM2, which must never be written on disk; none where there is no TrakEM2. */
    List<String> openProjects() {
        return getClass().classLoader.loadClass("TrakEM2").openProjectPaths() as List<String>
    }

    /** Open a project in TrakEM2's own window; where that cannot be, a warning says so. */
    void openInTrakEM2(String path) {
        if (headless) {
            warnings << "TrakEM2 opens projects only where there is a screen: ${path} was not opened.".toString()
            return
        }
        try {
            getClass().classLoader.loadClass("ini.trakem2.Project").openFSProject(path, true)
        } catch (ClassNotFoundException ignored) {
            warnings << "There is no TrakEM2 in this ImageJ: ${path} was not opened.".toString()
        }
    }

    private void succeed(String said) {
        warnings.each { log.warn("demis_ij: ${it}") }
        log.info("demis_ij: ${name}: ${said}")
        IJ.showStatus("demis_ij: " + said)
        if (headless) return
        List<String> lines = [said]
        if (!warnings.isEmpty()) {
            lines << "" << (warnings.size() == 1 ? "One warning:" : "${warnings.size()} warnings:".toString())
            lines.addAll(warnings.take(SHOWN_WARNINGS))
            if (warnings.size() > SHOWN_WARNINGS) lines << "... and more: see Window > Console"
        }
        dialog(lines.join("\n"), DialogPrompt.MessageType.INFORMATION_MESSAGE)
    }

    private String fail(String message, String detail) {
        String sentence = message == null ? "it is not known why" : message.readLines().join(" ")
        log.error("demis_ij: ${name}: ${sentence}" + (detail ? "\n" + detail : ""))
        if (!headless) dialog(sentence + (detail ? "\n\nSee Window > Console for more." : ""), DialogPrompt.MessageType.ERROR_MESSAGE)
        return "FAILED: " + sentence
    }

    private static String traceOf(Throwable error) {
        StringWriter trace = new StringWriter()
        error.printStackTrace(new PrintWriter(trace))
        return trace.toString()
    }

    private void dialog(String text, DialogPrompt.MessageType kind) {
        UserInterface shown = ui.getDefaultUI()
        if (shown != null && !(shown instanceof HeadlessUI)) ui.showDialog(text, "DEMIS: " + name, kind)
        else IJ.log("DEMIS: " + name + ": " + text)
    }

    /** What a command shows it shows itself; SciJava need not open a second window for it. */
    private void ownOutputs() {
        Object module = binding.variables.get("org.scijava.script.ScriptModule")
        module?.info?.outputs()?.each { module.resolveOutput(it.name) }
    }
}
