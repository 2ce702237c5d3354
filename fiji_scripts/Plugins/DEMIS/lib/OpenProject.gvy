import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import ij.IJ
import ij.ImagePlus
import ij.io.FileSaver
import java.awt.Rectangle

/** What the menu does with the project that is open in TrakEM2: move its tiles, draw a layer of it. */
class OpenProject {
    static final List<String> LAYERS = TrakEM2.LAYERS
    static final List<String> CANVAS = TrakEM2.CANVAS
    static final List<String> PIXELS = TrakEM2.PIXELS.keySet() as List
    static final int NAMED = 5

    // --- moving -------------------------------------------------------------------------------------------------------

    /**
     * Move the tiles of the open project to where a solved layout puts them.
     *
     * @param options solved (path, or null for the solved copy beside the project), project, layers, annotations, canvas,
     *     anyway (also tiles that were moved since they were solved), python
     * @return moved, a number; sentence
     */
    static Map update(Command demis, Map options) {
        TrakEM2 trakem2 = TrakEM2.need()
        def project = trakem2.chooseProject(options.project as String)
        List layers = trakem2.chooseLayers(project, options.layers as String)
        Map told = trakem2.describe(project, layers)
        if (!told.patches) throw new Problem("There is no tile in the chosen layers of ${TrakEM2.nameOf(project)}.")
        String solved = options.solved ?: solvedCopy(project)
        Map<String, List> moves = [:]
        Map done = workOut(demis, solved, told, moves, options)
        Map report = apply(demis, trakem2, project, layers, told, moves, options)
        demis.warnings.addAll(remarks(report, done))
        return [moved: report.moved, sentence: sentence(project, report, done)]
    }

    /** The newest solved copy beside the open project. */
    static String solvedCopy(project) {
        String xml = TrakEM2.xmlPath(project)
        if (!xml) throw new Problem("${TrakEM2.nameOf(project)} has no file: choose the solved layout.")
        File file = new File(xml)
        def parts = (file.name =~ /(?i)^(.*?)(\.xml(?:\.gz)?)$/)
        String stem = parts.matches() ? parts.group(1) : file.name
        String ending = parts.matches() ? parts.group(2) : ".xml"
        String pattern = java.util.regex.Pattern.quote(stem) + /\.demis(-\d+)?/ + java.util.regex.Pattern.quote(ending)
        List<File> found = ((file.parentFile?.listFiles() ?: []) as List<File>).findAll { it.name.matches(pattern) }
        if (!found) {
            throw new Problem("There is no ${stem}.demis${ending} beside ${xml}: stitch the project first" +
                " (Stitch TrakEM2 Project), or choose the solved layout.")
        }
        return found.max { it.lastModified() }.path
    }

    /** Ask the worker; what it wrote is put into `moves`, and nothing stays on disk. */
    private static Map workOut(Command demis, String solved, Map told, Map<String, List> moves, Map options) {
        File folder = java.nio.file.Files.createTempDirectory("demis_ij_open").toFile()
        try {
            File open = new File(folder, "open.json")
            open.setText(JsonOutput.toJson(told), "UTF-8")
            Map done = demis.ask("transforms", [solved: solved, patches: open.path], options.python)
            List changed = (done.changed ?: []) as List
            if (changed && !options.anyway) {
                throw new Problem("${changed.size()} tile(s) were moved in TrakEM2 since they were solved (${some(changed)}):" +
                    " nothing was changed. Save and stitch the project again, or choose 'apply anyway'.")
            }
            Map written = new JsonSlurper().parse(new File(done.file as String), "UTF-8") as Map
            (written.moves as List<Map>).each { moves[it.id as String] = it.matrix as List }
            return done
        } finally {
            folder.deleteDir()
        }
    }

    private static Map apply(Command demis, TrakEM2 trakem2, project, List layers, Map told, Map moves, Map options) {
        Object bar = demis.tasks.createTask("demis_ij: moving tiles in TrakEM2")
        try {
            bar.start()
            bar.setStatusMessage("${moves.size()} tiles")
            Map report = trakem2.apply(project, layers, told, moves, [annotations: options.annotations, canvas: options.canvas,
                cancelled: { bar.isCanceled() || (IJ.getInstance() != null && IJ.escapePressed()) }])
            if (report.cancelled) throw new Stopped("stopped; nothing was changed in TrakEM2.")
            return report
        } finally {
            bar.finish()
        }
    }

    private static List<String> remarks(Map report, Map done) {
        List<String> out = []
        if (report.left) out << "${report.left} annotation(s) of these layers stayed where they were.".toString()
        if (report.outside) {
            out << ("${report.outside} tile(s) reach beyond the upper or left edge of the canvas, where TrakEM2 does not draw:" +
                " choose '${TrakEM2.ALL_SIDES}', or resize the canvas there.").toString()
        }
        if (report.shift != [0, 0]) {
            out << "The whole project was shifted by ${report.shift[0]}, ${report.shift[1]} px to make room.".toString()
        }
        return out
    }

    private static String sentence(project, Map report, Map done) {
        String name = TrakEM2.nameOf(project)
        if (!report.moved) return "Nothing to move in ${name}: ${done.unchanged} tile(s) are where the solution puts them."
        return "${report.moved} tile(s) of ${name} moved, at most ${Math.round((done.largest_px as double) * 10) / 10.0d} px;" +
            " ${done.unchanged} were in place. Undo in TrakEM2 (Ctrl+Z) takes it back; nothing was saved."
    }

    private static String some(List names) {
        return names.take(NAMED).join(", ") + (names.size() > NAMED ? ", ..." : "")
    }

    // --- drawing ------------------------------------------------------------------------------------------------------

    /**
     * Draw a layer of the open project by TrakEM2, and save it.
     *
     * @param options to, project, z, region (x, y, width, height or null), scale, pixels, displayRange, includeHidden
     * @return picture, sentence
     */
    static Map render(Command demis, Map options) {
        TrakEM2 trakem2 = TrakEM2.need()
        def project = trakem2.chooseProject(options.project as String)
        def layer = trakem2.chooseLayer(project, options.z as Double)
        List patches = trakem2.patchesOf([layer]).findAll { options.includeHidden || it.isVisible() }
        if (!patches) throw new Problem("There is no visible tile in layer z ${layer.getZ()} of ${TrakEM2.nameOf(project)}.")
        Rectangle box = options.region ? regionOf(options.region as List) : TrakEM2.boxOf(patches)
        double scale = options.scale as double
        double size = Math.floor(box.width * scale) * Math.floor(box.height * scale)
        if (size < 1 || size > Integer.MAX_VALUE) {
            throw new Problem("A picture of ${Math.floor(box.width * scale) as long} x ${Math.floor(box.height * scale) as long} px cannot" +
                " be drawn: choose a smaller region or another scale.")
        }
        def drawn = trakem2.flatImage(options.pixels as String, layer, box, scale, patches, options.displayRange as boolean)
        ImagePlus image = new ImagePlus("${project.getTitle()}, z ${layer.getZ()}, by TrakEM2", drawn)
        image.setProperty("Info", "demis_ij_render: " + JsonOutput.toJson(
            [world_origin: [box.x as int, box.y as int], scale: scale, z: layer.getZ(), project: TrakEM2.xmlPath(project)]) + "\n")
        image.calibration.xOrigin = -box.x * scale
        image.calibration.yOrigin = -box.y * scale
        if (!new FileSaver(image).saveAsTiff(options.to as String)) throw new Problem("${options.to} could not be written.")
        return [picture: image, sentence: "${patches.size()} tile(s) drawn by TrakEM2: ${options.to}, ${image.width} x ${image.height}" +
            " px; its first pixel is at (${box.x as int}, ${box.y as int}) of the project."]
    }

    private static Rectangle regionOf(List<Integer> numbers) {
        if (numbers.size() != 4 || numbers[2] < 1 || numbers[3] < 1) {
            throw new Problem("Region: needed x, y, width, height in px, found ${numbers.join(', ')}.")
        }
        return new Rectangle(numbers[0], numbers[1], numbers[2], numbers[3])
    }
}
