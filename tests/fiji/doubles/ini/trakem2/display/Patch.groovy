package ini.trakem2.display

import groovy.transform.CompileStatic
import ij.ImagePlus
import ij.process.ByteProcessor
import ij.process.ImageProcessor
import ini.trakem2.Project
import java.awt.Color
import java.awt.Rectangle
import java.awt.geom.AffineTransform

/** An image tile. */
@CompileStatic
class Patch extends Displayable {
    private final long ctId
    /** How often its image pyramid was asked for anew, which a change of the matrix alone does not need; for the tests. */
    int mipmapsUpdated = 0
    /** Its pixels. */
    ImageProcessor image
    /** For the tests: a tile whose matrix cannot be set. */
    boolean broken = false
    /** For the tests: what was drawn. */
    static final List<Map<String, Object>> drawn = []

    Patch(Project project, long id, String title, float width, float height, AffineTransform at, long ctId) {
        super(project, id, title, width, height, at)
        this.ctId = ctId
    }

    boolean hasCoordinateTransform() { ctId != 0L }

    int getType() { ImagePlus.GRAY8 }

    @Override
    void setAffineTransform(AffineTransform transform) {
        if (broken) {
            broken = false
            throw new IllegalArgumentException("broken tile")
        }
        super.setAffineTransform(transform)
    }

    void updateMipMaps() { mipmapsUpdated++ }

    /** Nearest neighbours, translations only: enough to say that the right call was made with the right tiles. */
    static ImageProcessor makeFlatImage(int type, Layer layer, Rectangle srcRect, double scale, Collection<Patch> patches,
                                        Color background, boolean setMinAndMax) {
        drawn.add([type: type, layer: layer, box: srcRect, scale: scale, ids: patches.collect { Patch p -> p.getId() },
                   range: setMinAndMax] as Map<String, Object>)
        double shrunk = Math.min(scale, 1.0d)
        int width = Math.floor(srcRect.getWidth() * shrunk).intValue()
        int height = Math.floor(srcRect.getHeight() * shrunk).intValue()
        ImageProcessor out = new ByteProcessor(width, height)
        patches.each { Patch p ->
            AffineTransform back = p.getAffineTransform().createInverse()
            double[] at = new double[2]
            for (int y = 0; y < height; y++) {
                for (int x = 0; x < width; x++) {
                    back.transform([x / shrunk + srcRect.x, y / shrunk + srcRect.y] as double[], 0, at, 0, 1)
                    int c = Math.round(at[0]).intValue()
                    int r = Math.round(at[1]).intValue()
                    if (p.image != null && c >= 0 && r >= 0 && c < p.image.getWidth() && r < p.image.getHeight()) {
                        out.set(x, y, p.image.get(c, r))
                    }
                }
            }
        }
        return out
    }
}
