import java.awt.Color
import java.awt.Rectangle
import java.awt.geom.AffineTransform
import java.awt.geom.Rectangle2D

/**
 * TrakEM2 as it is open in this Fiji. Its classes are found by their names when they are needed, so that scripts that use
 * this one compile, and say what is missing, where TrakEM2 is not installed.
 *
 * What cannot be done is an IllegalStateException whose message is one sentence for a dialog.
 *
 * Threads: nothing here belongs on the event thread. TrakEM2's own alignment runs in threads of its own while the displays
 * of the project take no input; here it is the script's thread, with the same lock. Display.update and Display.repaint
 * may be called from any thread.
 */
class TrakEM2 {
    static final String KEEP_ORIGIN = "grow to the right and down"
    static final String ALL_SIDES = "grow to all sides (moves the origin)"
    static final String LEAVE = "leave as it is"
    static final List<String> CANVAS = [KEEP_ORIGIN, ALL_SIDES, LEAVE]
    static final String FRONT = "front layer"
    static final String ALL = "all layers"
    static final List<String> LAYERS = [FRONT, ALL]
    static final Map<String, Integer> PIXELS = ["8-bit": 0, "16-bit": 1, "32-bit": 2, "RGB": 4]

    final Class Project, Display, Patch, VectorData, AlignTask

    private TrakEM2(ClassLoader loader) {
        Project = Class.forName("ini.trakem2.Project", true, loader)
        Display = Class.forName("ini.trakem2.display.Display", true, loader)
        Patch = Class.forName("ini.trakem2.display.Patch", true, loader)
        VectorData = Class.forName("ini.trakem2.display.VectorData", true, loader)
        AlignTask = Class.forName("mpicbg.trakem2.align.AlignTask", true, loader)
    }

    /** TrakEM2 as some class loader in reach knows it (the thread's, ImageJ's, this class's own), null when none does. */
    static TrakEM2 find() {
        def loaders = [Thread.currentThread().contextClassLoader, imageJLoader(), TrakEM2.classLoader]
        for (ClassLoader loader : loaders.findAll { it != null }.unique()) {
            try {
                return new TrakEM2(loader)
            } catch (ClassNotFoundException ignored) {
                // the next one may know it
            } catch (LinkageError broken) {
                throw new IllegalStateException("TrakEM2 is installed here but does not start (" + broken +
                    "): update Fiji (Help > Update...), then restart it", broken)
            }
        }
        return null
    }

    /** As find(), or a sentence that says what to install. */
    static TrakEM2 need() {
        def found = find()
        if (found == null) {
            throw new IllegalStateException("TrakEM2 is not installed in this ImageJ: use Fiji, which has it" +
                " (Plugins > TrakEM2), and open the project there first")
        }
        return found
    }

    /** The absolute paths of the project files that are open now; empty where TrakEM2 is missing, broken, or has none. */
    static List<String> openProjectPaths() {
        def found = null
        try {
            found = find()
        } catch (IllegalStateException ignored) {
            // a TrakEM2 that does not start has nothing open
        }
        return found == null ? [] : found.projects().collect { xmlPath(it) }.findAll { it }
    }

    private static ClassLoader imageJLoader() {
        try {
            return Class.forName("ij.IJ").getMethod("getClassLoader").invoke(null) as ClassLoader
        } catch (ReflectiveOperationException | LinkageError ignored) {
            return null
        }
    }

    // --- which project, which layers, which tiles ---------------------------------------------------------------------

    List projects() { Project.getProjects() as List }

    /** The file of a project, empty for one that was never saved or lives in a database. */
    static String xmlPath(project) {
        def loader = project.getLoader()
        if (!loader.metaClass.respondsTo(loader, "getProjectXMLPath")) return ""
        return loader.getProjectXMLPath() ?: ""
    }

    static String nameOf(project) {
        def path = xmlPath(project)
        return path ? "'${project.getTitle()}' (${path})" : "'${project.getTitle()}' (never saved)"
    }

    /** The open project of a title, file name or path; without a name the only one, else the one in front. */
    Object chooseProject(String named) {
        def open = projects()
        if (!open) {
            throw new IllegalStateException("No project is open in TrakEM2: open it there" +
                " (File > Import > TrakEM2 project, or drop it on the toolbar), then run this again")
        }
        def list = open.collect { nameOf(it) }.join(", ")
        def wanted = named?.trim()?.replace("\\", "/")
        if (wanted) {
            def found = open.findAll { wanted in [it.getTitle(), xmlPath(it), new File(xmlPath(it)).name] }
            if (found.size() == 1) return found[0]
            throw new IllegalStateException(found ? "${found.size()} open projects are called '${wanted}': give the path of one of ${list}"
                : "No open project is called '${wanted}'; open in TrakEM2: ${list}")
        }
        if (open.size() == 1) return open[0]
        def front = Display.getFrontLayer()
        if (front != null) return front.getProject()
        throw new IllegalStateException("${open.size()} projects are open in TrakEM2 and none is in front: name one of ${list}")
    }

    /** The layers that are meant: all of a project, or the one that is shown. */
    List chooseLayers(project, String which) {
        if (which == ALL) return project.getRootLayerSet().getLayers() as List
        def front = Display.getFrontLayer()
        if (front == null || !front.getProject().is(project)) front = Display.getFrontLayer(project)
        if (front == null) {
            throw new IllegalStateException("No layer of ${nameOf(project)} is shown: choose '${ALL}', or open a display of it")
        }
        return [front]
    }

    /** The layer at a height; without one the layer that is shown, or the only one. */
    Object chooseLayer(project, Double z) {
        def all = project.getRootLayerSet().getLayers() as List
        if (z == null) return all.size() == 1 ? all[0] : chooseLayers(project, FRONT)[0]
        def found = all.findAll { Math.abs(it.getZ() - z) < 1e-6d }
        if (found.size() == 1) return found[0]
        throw new IllegalStateException("${found.size()} layers of ${nameOf(project)} lie at z ${z}; there are ${all.size()}," +
            " from z ${all.first().getZ()} to ${all.last().getZ()}")
    }

    List patchesOf(List layers) { layers.collectMany { it.getDisplayables(Patch) as List } }

    /** What the worker needs to know of a project: whose it is, and where each tile of the layers lies now. */
    Map describe(project, List layers) {
        def loader = project.getLoader()
        def tiles = layers.collectMany { layer ->
            (layer.getDisplayables(Patch) as List).collect { describePatch(loader, layer, it) }
        }
        return [unuid: loader.getUNUId() ?: "", path: xmlPath(project), title: project.getTitle(), patches: tiles]
    }

    private static Map describePatch(loader, layer, patch) {
        def path = loader.getAbsolutePath(patch) as String
        def slice = null
        int mark = path == null ? -1 : path.lastIndexOf("-----#slice=")
        if (mark >= 0) {
            slice = path.substring(mark + "-----#slice=".length()) as Integer
            path = path.substring(0, mark)
        }
        double[] matrix = new double[6]
        patch.getAffineTransform().getMatrix(matrix)
        return [id: patch.getId() as String, title: patch.getTitle() as String, path: path, slice: slice, matrix: matrix as List,
                width: patch.getWidth() as double, height: patch.getHeight() as double,
                coordinate_transform: patch.hasCoordinateTransform(), locked: patch.isLocked(),
                visible: patch.isVisible(), layer: layer.getZ() as double]
    }

    /** How many annotations lie in these layers (vector data: labels, lists of areas, trees ...). */
    int annotations(layerSet, List layers) {
        int flat = layers.sum(0) { (it.getDisplayables(VectorData, false, true) as List).size() } as int
        int deep = (layerSet.getZDisplayables(VectorData, true) as List).count { z -> layers.any { z.paintsAt(it) } } as int
        return flat + deep
    }

    // --- moving -------------------------------------------------------------------------------------------------------

    /**
     * Move tiles: all of them or none, as one step that TrakEM2's own Undo takes back. The file on disk is not touched.
     *
     * @param told what describe() returned: a tile that lies elsewhere by now stops everything
     * @param moves tile id to its new matrix, six numbers in TrakEM2's order (m00, m10, m01, m11, m02, m12)
     * @param options annotations: whether they move with the tiles below them; canvas: one of CANVAS; cancelled: asked
     *     once, just before the first change
     * @return moved, locked (ids that stayed), annotations (moved), left (annotations that stayed), outside (tiles that
     *     reach beyond the upper or left edge), shift (what the whole project was shifted by), cancelled
     */
    Map apply(project, List layers, Map told, Map<String, List> moves, Map options) {
        def layerSet = layers[0].getParent()
        Map<String, Object> patches = patchesOf(layers).collectEntries { [(it.getId() as String): it] }
        Map<Object, AffineTransform> after = checked(patches, told, moves)
        def locked = after.keySet().findAll { it.isLocked() }
        after.keySet().removeAll(locked)
        int found = annotations(layerSet, layers)
        def report = [moved: after.size(), locked: locked.collect { it.getId() as String }, annotations: 0, left: found,
                      outside: 0, shift: [0, 0], cancelled: false]
        if (options.cancelled?.call()) return report + [moved: 0, cancelled: true]
        if (!after) return report
        if (!project.isInputEnabled()) {
            throw new IllegalStateException("TrakEM2 is busy with a task of its own: wait until it is done, then run this again")
        }
        project.setReceivesInput(false)
        try {
            report << fitCanvas(layerSet, patches.values(), after, options.canvas as String)
            boolean along = options.annotations && found > 0
            move(layerSet, layers, after, along)
            if (along) report << [annotations: found, left: 0]
        } finally {
            project.setReceivesInput(true)
        }
        Display.update(layerSet)
        layers.each { Display.repaint(it) }
        return report
    }

    private static Map<Object, AffineTransform> checked(Map<String, Object> patches, Map told, Map<String, List> moves) {
        Map<String, List> before = (told.patches as List<Map>).collectEntries { [(it.id): it.matrix] }
        Map<Object, AffineTransform> after = [:]
        moves.each { id, numbers ->
            def patch = patches[id]
            double[] now = new double[6]
            patch?.getAffineTransform()?.getMatrix(now)
            if (patch == null || now as List != before[id]) {
                throw new IllegalStateException("Tile ${id} was ${patch == null ? 'removed' : 'moved'} in TrakEM2 while its new" +
                    " place was worked out: nothing was changed, run this again")
            }
            def matrix = numbers.collect { it as double }
            def transform = matrix.size() == 6 ? new AffineTransform(matrix as double[]) : null
            if (transform == null || transform.determinant == 0 || matrix.any { Double.isNaN(it) || Double.isInfinite(it) }) {
                throw new IllegalStateException("The new matrix of tile ${id} is none (${numbers}): nothing was changed")
            }
            after[patch] = transform
        }
        return after
    }

    /** Two steps around the change, as TrakEM2 does it: what was, for Undo; what is, for Redo. */
    private void move(layerSet, List layers, Map<Object, AffineTransform> after, boolean along) {
        def covered = along ? layerSet.addTransformStepWithDataForAll(layers) : new HashSet(after.keySet())
        if (!along) layerSet.addTransformStepWithData(covered)
        nextMillisecond()
        Map<Object, AffineTransform> before = after.keySet().collectEntries { [(it): it.getAffineTransformCopy()] }
        def change = { after.each { patch, transform -> patch.setAffineTransform(transform) } } as Runnable
        try {
            if (along) AlignTask.transformPatchesAndVectorData(new ArrayList(after.keySet()), change)
            else change.run()
        } catch (Throwable failed) {
            before.each { patch, transform -> patch.setAffineTransform(transform) }
            throw new IllegalStateException("TrakEM2 refused the new transforms (${failed}): every tile is back where it was", failed)
        } finally {
            layerSet.addTransformStepWithData(covered)
            nextMillisecond()
        }
    }

    /** TrakEM2 keeps its steps by the millisecond: a second one in the same millisecond would replace the first. */
    private static void nextMillisecond() {
        long now = System.currentTimeMillis()
        while (System.currentTimeMillis() <= now) Thread.sleep(1)
    }

    // --- the canvas ---------------------------------------------------------------------------------------------------

    /**
     * Make room before tiles move, so that the first Undo brings the tiles back and the next the canvas. TrakEM2's
     * enlargeToFit and setMinimumDimensions shift the whole project where tiles lie above or left of its origin; that is
     * done only when asked for, and `after` is shifted with it.
     */
    private static Map fitCanvas(layerSet, Collection patches, Map<Object, AffineTransform> after, String canvas) {
        Rectangle2D room = new Rectangle2D.Double(0, 0, layerSet.getLayerWidth() as double, layerSet.getLayerHeight() as double)
        Rectangle2D all = room.clone() as Rectangle2D
        int outside = 0
        patches.each {
            Rectangle2D box = extent(it, after[it] ?: it.getAffineTransform())
            if (box.minX < -0.5d || box.minY < -0.5d) outside++
            all.add(box)
        }
        if (canvas == LEAVE) return [outside: outside]
        int left = canvas == ALL_SIDES ? Math.floor(all.minX) as int : 0
        int top = canvas == ALL_SIDES ? Math.floor(all.minY) as int : 0
        float width = Math.ceil(all.maxX - left) as float
        float height = Math.ceil(all.maxY - top) as float
        if (left == 0 && top == 0 && width <= room.width && height <= room.height) return [outside: outside]
        layerSet.setDimensions(left as float, top as float, width, height)
        nextMillisecond()
        after.values().each { it.preConcatenate(AffineTransform.getTranslateInstance(-left, -top)) }
        return [outside: canvas == ALL_SIDES ? 0 : outside, shift: [-left, -top]]
    }

    // --- drawing ------------------------------------------------------------------------------------------------------

    /** The smallest box of whole pixels that holds some tiles. */
    static Rectangle boxOf(Collection patches) {
        Rectangle2D all = null
        patches.each {
            Rectangle2D box = extent(it, it.getAffineTransform())
            if (all == null) all = box
            else all.add(box)
        }
        int x = Math.floor(all.minX) as int, y = Math.floor(all.minY) as int
        return new Rectangle(x, y, (Math.ceil(all.maxX) as int) - x, (Math.ceil(all.maxY) as int) - y)
    }

    /**
     * Tiles drawn from their original images, the first one lowest. Pixel (i, j) of the result shows the world's point
     * (box.x + i / scale, box.y + j / scale). With `range` grey values go through each tile's display range.
     */
    Object flatImage(String pixels, layer, Rectangle box, double scale, Collection patches, boolean range) {
        return Patch.makeFlatImage(PIXELS[pixels], layer, box, scale, patches, Color.black, range)
    }

    private static Rectangle2D extent(patch, AffineTransform transform) {
        def image = new Rectangle2D.Double(0, 0, patch.getWidth() as double, patch.getHeight() as double)
        return transform.createTransformedShape(image).getBounds2D()
    }
}
