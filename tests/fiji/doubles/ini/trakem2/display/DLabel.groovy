package ini.trakem2.display

import groovy.transform.CompileStatic
import ini.trakem2.Project
import java.awt.geom.AffineTransform

/** A label at a point. */
@CompileStatic
class DLabel extends Displayable implements VectorData {
    DLabel(Project project, long id, String title, double x, double y) {
        super(project, id, title, 1f, 1f, AffineTransform.getTranslateInstance(x, y))
    }
}
