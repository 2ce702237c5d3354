package mpicbg.trakem2.align

import groovy.transform.CompileStatic
import ini.trakem2.display.Displayable
import ini.trakem2.display.Layer
import ini.trakem2.display.LayerSet
import ini.trakem2.display.Patch
import ini.trakem2.display.VectorData
import ini.trakem2.display.ZDisplayable
import java.awt.geom.AffineTransform
import java.awt.geom.Point2D

/** Moves annotations with the topmost visible tile below them; here an annotation is a point. */
@CompileStatic
class AlignTask {
    static void transformPatchesAndVectorData(Collection<Patch> patches, Runnable alignment) {
        if (patches.isEmpty()) return
        LayerSet set = patches.iterator().next().getLayerSet()
        Set<Layer> touched = patches.collect { Patch p -> p.getLayer() } as Set<Layer>
        Map<Displayable, Patch> below = [:]
        touched.each { Layer layer ->
            List<Displayable> vectors = layer.getDisplayables(VectorData, false, true) as List<Displayable>
            vectors.addAll(set.getZDisplayables(VectorData, true).findAll { ZDisplayable z -> z.paintsAt(layer) })
            vectors.each { Displayable v ->
                Point2D at = v.getAffineTransform().transform(new Point2D.Double(), null)
                Patch under = (Patch) layer.getDisplayables(Patch).reverse().find { Displayable p ->
                    p.isVisible() && p.getBoundingBox().contains(at)
                }
                if (under != null) below[v] = under
            }
        }
        Map<Patch, AffineTransform> before = below.values().toSet().collectEntries { Patch p -> [(p): p.getAffineTransformCopy()] }
        alignment.run()
        below.each { Displayable v, Patch p ->
            AffineTransform change = p.getAffineTransformCopy()
            change.concatenate(before[p].createInverse())
            Point2D to = change.transform(v.getAffineTransform().transform(new Point2D.Double(), null), null)
            v.setAffineTransform(AffineTransform.getTranslateInstance(to.getX(), to.getY()))
        }
    }
}
