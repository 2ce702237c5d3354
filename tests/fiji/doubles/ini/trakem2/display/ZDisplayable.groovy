package ini.trakem2.display

import groovy.transform.CompileStatic
import ini.trakem2.Project
import java.awt.geom.AffineTransform

/** What crosses layers; this one is a point of a tree in each of some layers. */
@CompileStatic
class ZDisplayable extends Displayable implements VectorData {
    private final List<Layer> layers

    ZDisplayable(Project project, long id, double x, double y, List<Layer> layers) {
        super(project, id, "tree", 1f, 1f, AffineTransform.getTranslateInstance(x, y))
        this.layers = layers
    }

    boolean paintsAt(Layer layer) { layers.contains(layer) }

    @Override
    LayerSet getLayerSet() { layers[0].getParent() }
}
