package ini.trakem2.display

import groovy.transform.CompileStatic
import ini.trakem2.Project
import java.awt.EventQueue
import java.awt.Rectangle
import java.awt.geom.AffineTransform

/** What lies in a layer. */
@CompileStatic
abstract class Displayable {
    protected final Project project
    protected final long id
    protected final AffineTransform at
    protected float width, height
    protected boolean locked = false
    protected boolean visible = true
    protected String title
    protected Layer layer
    protected final HashSet<Displayable> links = []

    Displayable(Project project, long id, String title, float width, float height, AffineTransform at) {
        this.project = project
        this.id = id
        this.title = title
        this.width = width
        this.height = height
        this.at = new AffineTransform(at)
    }

    final long getId() { id }

    final Project getProject() { project }

    String getTitle() { title }

    float getWidth() { width }

    float getHeight() { height }

    Layer getLayer() { layer }

    LayerSet getLayerSet() { layer.getParent() }

    boolean isVisible() { visible }

    void setVisible(boolean visible) { this.visible = visible }

    boolean isLocked2() { locked }

    boolean isLocked() { group(new HashSet<Displayable>()).any { Displayable d -> d.isLocked2() } }

    void setLocked(boolean lock) { locked = lock }

    void link(Displayable other) {
        links.add(other)
        other.links.add(this)
    }

    private Set<Displayable> group(Set<Displayable> seen) {
        if (seen.add(this)) links.each { Displayable d -> d.group(seen) }
        return seen
    }

    AffineTransform getAffineTransform() { at }

    AffineTransform getAffineTransformCopy() { new AffineTransform(at) }

    void setAffineTransform(AffineTransform transform) {
        if (!getLayerSet().isOpenFor(this)) {
            Project.violations.add("tile ${id} was moved outside a pair of undo steps that covers it" as String)
        }
        if (EventQueue.isDispatchThread()) Project.violations.add("tiles were moved on the event thread")
        at.setTransform(transform)
        project.getLoader().setChanged(true)
    }

    Rectangle getBoundingBox() {
        return at.createTransformedShape(new Rectangle(0, 0, (int) width, (int) height)).getBounds()
    }
}
