package ini.trakem2.display

import groovy.transform.CompileStatic
import ini.trakem2.Project

/** A section. */
@CompileStatic
class Layer {
    private final LayerSet parent
    private final long id
    private final double z
    private final List<Displayable> all = []

    Layer(LayerSet parent, long id, double z) {
        this.parent = parent
        this.id = id
        this.z = z
        parent.add(this)
    }

    long getId() { id }

    double getZ() { z }

    LayerSet getParent() { parent }

    Project getProject() { parent.getProject() }

    void add(Displayable d) {
        all.add(d)
        d.layer = this
    }

    ArrayList<Displayable> getDisplayables() { new ArrayList<Displayable>(all) }

    ArrayList<Displayable> getDisplayables(Class<?> c) { new ArrayList<Displayable>(all.findAll { Displayable d -> d.class == c }) }

    ArrayList<Displayable> getDisplayables(Class<?> c, boolean visibleOnly, boolean instanceOf) {
        return new ArrayList<Displayable>(all.findAll { Displayable d ->
            (!visibleOnly || d.isVisible()) && (instanceOf ? c.isInstance(d) : d.class == c)
        })
    }
}
