package ini.trakem2.display

import groovy.transform.CompileStatic
import ini.trakem2.Project

/** A window that shows a layer. */
@CompileStatic
class Display {
    private static final List<Display> ALL = []
    private static Display front = null
    /** What was told to draw itself again, for the tests. */
    static final List<Object> updated = []
    static final List<Object> repainted = []

    private final Layer layer

    Display(Layer layer) {
        this.layer = layer
        ALL.add(this)
        front = this
    }

    static void closeAll() {
        ALL.clear()
        front = null
        updated.clear()
        repainted.clear()
    }

    static Layer getFrontLayer() { front == null ? null : front.layer }

    static Layer getFrontLayer(Project project) {
        if (front == null) return null
        Display found = front.layer.getProject().is(project) ? front : ALL.find { Display d -> d.layer.getProject().is(project) }
        return found == null ? null : found.layer
    }

    static void update(LayerSet set) { updated.add(set) }

    static void repaint(Layer layer) { repainted.add(layer) }
}
