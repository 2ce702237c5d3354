// Opens a project in the real TrakEM2, without a window, runs the two commands on it, and writes down what came of it.
#@ String folder
#@ String project
#@ String python
#@ String report
#@ Context context
#@output String done

import groovy.json.JsonOutput
import org.scijava.script.ScriptService

def scripts = context.getService(ScriptService)
def type = { String name -> Class.forName(name, true, Thread.currentThread().contextClassLoader) }
def run = { String name, Map given ->
    scripts.run(new File(folder, name + "_(DEMIS).groovy"), true, given as Map<String, Object>).get().outputs.result as String
}
type("ini.trakem2.ControlWindow").setGUIEnabled(false)
def open = type("ini.trakem2.Project").openFSProject(project, false)
def layer = open.getRootLayerSet().getLayers()[0]
def Patch = type("ini.trakem2.display.Patch")
def matrices = { layer.getDisplayables(Patch).collectEntries { def m = new double[6]; it.getAffineTransform().getMatrix(m); [(it.getId() as String): m as List] } }
def told = [before: matrices()]
def label = type("ini.trakem2.display.DLabel").getConstructors().find { it.parameterCount == 4 }.newInstance(open, "note", 100d, 100d)
layer.add(label)
layer.recreateBuckets()
def box = { def b = label.getBoundingBox(); [b.@x, b.@y] }
told.label = box()
open.getLoader().setChanged(false)
told.update = run("Update_Open_TrakEM2_Project", [layers: "all layers", python: python])
told.after = matrices()
told.label_after = box()
told.changed = open.getLoader().hasChanges()
told.render = run("Render_Layer_With_TrakEM2", [to: new File(new File(project).parentFile, "layer.tif"), z: "0"])
told.undo = layer.getParent().undoOneStep()
told.undone = matrices()
told.label_undone = box()
layer.getDisplayables(Patch)[0].setLocked(true)
layer.getDisplayables(Patch)[0].link(layer.getDisplayables(Patch)[1])
told.update_locked = run("Update_Open_TrakEM2_Project", [layers: "all layers", python: python, annotations: false])
told.locked = matrices()
open.getLoader().setChanged(false)
open.destroy()
new File(report).setText(JsonOutput.toJson(told), "UTF-8")
done = "yes"
