package ini.trakem2.display

import groovy.transform.CompileStatic
import ini.trakem2.Project
import java.awt.Rectangle
import java.awt.geom.AffineTransform

/** The layers of a project, and its history of changes. */
@CompileStatic
class LayerSet {
    private final Project project
    private final List<Layer> layers = []
    private final List<ZDisplayable> deep = []
    float layerWidth = 100f
    float layerHeight = 100f

    private final TreeMap<Long, Step> history = new TreeMap<Long, Step>()
    private final TreeMap<Long, Step> redo = new TreeMap<Long, Step>()
    private Step current = null
    private long currentTime = 0
    private Set<Displayable> open = null

    LayerSet(Project project) { this.project = project }

    Project getProject() { project }

    void add(Layer layer) { layers.add(layer) }

    void add(ZDisplayable d) { deep.add(d) }

    ArrayList<Layer> getLayers() { new ArrayList<Layer>(layers) }

    float getLayerWidth() { layerWidth }

    float getLayerHeight() { layerHeight }

    ArrayList<ZDisplayable> getZDisplayables(Class<?> c, boolean instanceOf) {
        return new ArrayList<ZDisplayable>(deep.findAll { ZDisplayable z -> instanceOf ? c.isInstance(z) : z.class == c })
    }

    private List<Displayable> everything() {
        List<Displayable> out = new ArrayList<Displayable>(deep)
        layers.each { Layer layer -> out.addAll(layer.getDisplayables()) }
        return out
    }

    // --- the canvas

    Rectangle get2DBounds() { new Rectangle(0, 0, (int) Math.ceil(layerWidth), (int) Math.ceil(layerHeight)) }

    void setDimensions(float x, float y, float width, float height) {
        addStep(new Step(everything(), this))
        Thread.sleep(2)
        layerWidth = width
        layerHeight = height
        AffineTransform shift = AffineTransform.getTranslateInstance(-x, -y)
        everything().each { Displayable d -> d.getAffineTransform().preConcatenate(shift) }
        addStep(new Step(everything(), this))
    }

    void enlargeToFit(Collection<? extends Displayable> ds) {
        Rectangle r = get2DBounds()
        ds.each { Displayable d -> r.add(d.getBoundingBox()) }
        setDimensions((float) r.x, (float) r.y, (float) r.width, (float) r.height)
    }

    // --- the history

    boolean isOpenFor(Displayable d) { open != null && open.contains(d) }

    void addTransformStepWithData(Collection<? extends Displayable> col) {
        if (col.isEmpty()) return
        addStep(new Step(col, this))
        Set<Displayable> covered = new HashSet<Displayable>(col)
        if (open != null && open != covered) Project.violations.add("a pair of undo steps covers different tiles")
        open = open == null ? covered : null
    }

    Collection<Displayable> addTransformStepWithDataForAll(Collection<Layer> some) {
        Set<Displayable> covered = new HashSet<Displayable>()
        some.each { Layer layer -> covered.addAll(layer.getDisplayables()) }
        covered.addAll(deep.findAll { ZDisplayable z -> some.any { Layer layer -> z.paintsAt(layer) } })
        addTransformStepWithData(covered)
        return covered
    }

    private void addStep(Step step) {
        if (current != null) history.put(currentTime, current)
        currentTime = System.currentTimeMillis()
        current = step
        redo.clear()
    }

    boolean isPairOpen() { open != null }

    boolean canUndo() { !history.isEmpty() }

    boolean undoOneStep() {
        if (history.isEmpty()) return false
        if (current != null) redo.put(currentTime, current)
        currentTime = history.lastKey()
        current = history.remove(currentTime)
        current.restore()
        return true
    }

    boolean redoOneStep() {
        if (redo.isEmpty()) return false
        if (current != null) history.put(currentTime, current)
        currentTime = redo.firstKey()
        current = redo.remove(currentTime)
        current.restore()
        return true
    }

    /** Where some things lay, and the size of the canvas. */
    @CompileStatic
    private static class Step {
        private final Map<Displayable, AffineTransform> where = new HashMap<Displayable, AffineTransform>()
        private final LayerSet set
        private final float width, height

        Step(Collection<? extends Displayable> col, LayerSet set) {
            this.set = set
            width = set.layerWidth
            height = set.layerHeight
            col.each { Displayable d -> where.put(d, d.getAffineTransformCopy()) }
        }

        void restore() {
            where.each { Displayable d, AffineTransform at -> d.getAffineTransform().setTransform(at) }
            set.layerWidth = width
            set.layerHeight = height
        }
    }
}
