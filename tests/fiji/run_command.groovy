// Runs one script of the menu as Fiji does, watches it, and writes down what came of it.
#@ String script
#@ String asked
#@ String report
#@ Context context
#@output String done

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import ij.IJ
import ij.ImagePlus
import ij.measure.ResultsTable
import org.scijava.event.EventHandler
import org.scijava.event.EventService
import org.scijava.log.LogListener
import org.scijava.log.LogService
import org.scijava.module.ModuleService
import org.scijava.script.ScriptFinder
import org.scijava.script.ScriptInfo
import org.scijava.script.ScriptService
import org.scijava.task.event.TaskEvent

class Watcher {
    List events = Collections.synchronizedList([])
    Integer cancelAt
    boolean canceled = false
    List<String> flags = []

    @EventHandler
    void seen(TaskEvent event) {
        def task = event.task
        events << [name: task.name, message: task.statusMessage, value: task.progressValue, maximum: task.progressMaximum, done: task.isDone()]
        if (task.progressMaximum <= 0 || task.progressValue < (cancelAt == null ? 1 : cancelAt)) return
        flags.each { new File(it).text = "in the middle" }
        if (cancelAt == null || canceled) return
        canceled = true
        Thread.start { task.cancel("the test") }
    }
}

def told(ImagePlus image) {
    def rois = image.overlay == null ? [] : (0..<image.overlay.size()).collect { image.overlay.get(it) }
    [title: image.title, width: image.width, height: image.height, slices: image.stackSize, unit: image.calibration.unit,
     pixel: image.calibration.pixelWidth, labels: (1..image.stackSize).collect { image.getStack().getSliceLabel(it) },
     mean: image.statistics.mean,
     rois: rois.collect { [kind: it.class.simpleName, name: it.name, x: it.floatBounds.x, y: it.floatBounds.y, width: it.floatBounds.width,
                           height: it.floatBounds.height, colour: it.strokeColor ? String.format("#%06x", it.strokeColor.getRGB() & 0xffffff) : null,
                           slice: it.position] }]
}

def told(ResultsTable table) {
    (0..<table.size()).collect { row -> table.headings.findAll { it }.collectEntries { [it, table.getStringValue(it, row)] } }
}

def told(Object value) {
    value instanceof List ? value.collect { told(it) } : value == null ? null : value.toString()
}

def wanted = new JsonSlurper().parse(new File(asked), "UTF-8")
def watcher = new Watcher(cancelAt: wanted.cancel_at, flags: wanted.flag ? [wanted.flag] : [])
def held = context.getService(EventService).subscribe(watcher)
def lines = Collections.synchronizedList([])
def listener = { lines << "${org.scijava.log.LogLevel.prefix(it.level())} ${it.text()}".toString() } as LogListener
context.getService(LogService).addLogListener(listener)
def home = System.getProperty("user.home")
def entries = []
if (wanted.tree) {
    def tree = new File(wanted.tree)
    context.getService(ScriptService).addScriptDirectory(tree)
    new ScriptFinder(context).findScripts(entries)
    entries = entries.findAll { it.getURL().toString().startsWith(tree.toURI().toURL().toString()) }.collect { it.menuPath.menuString }
}
if (wanted.home) System.setProperty("user.home", wanted.home)
def outputs = [:], failure = null
try {
    def file = new File(script), inputs = wanted.inputs as Map<String, Object>
    // a command of the menu knows the place of its file by a URL alone; run by --run it knows a path
    def info = wanted.by_path ? context.getService(ScriptService).getScript(file)
        : new ScriptInfo(context, file.toURI().toURL(), "Plugins/DEMIS/" + file.name)
    def module = context.getService(ModuleService).run(info, true, inputs).get()
    outputs = module.outputs.collectEntries { name, value -> [name, told(value)] }
    outputs["which were resolved"] = module.info.outputs().collect { it.name }.findAll { module.isOutputResolved(it) }
} catch (Exception error) {
    failure = error.toString()
} finally {
    System.setProperty("user.home", home)
    context.getService(LogService).removeLogListener(listener)
    context.getService(EventService).unsubscribe(held)
}
new File(report).setText(JsonOutput.toJson([outputs: outputs, failure: failure, log: lines, events: watcher.events, entries: entries, canceled: watcher.canceled]), "UTF-8")
done = "yes"
