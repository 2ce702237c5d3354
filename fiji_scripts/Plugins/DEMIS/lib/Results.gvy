import groovy.json.JsonSlurper
import ij.IJ
import ij.ImagePlus
import ij.gui.Arrow
import ij.gui.Line
import ij.gui.Overlay
import ij.gui.PointRoi
import ij.gui.PolygonRoi
import ij.gui.Roi
import ij.gui.TextRoi
import ij.io.Opener
import ij.measure.ResultsTable

import java.awt.Color
import java.awt.Dimension
import java.awt.EventQueue
import java.awt.Font
import java.awt.Rectangle

/** Results as ImageJ's own: pictures with overlays, stacks of two slices, tables. What to draw comes from the worker. */
class Results {
    static final int MOST_NAMES = 100
    static final int SMALL = 500
    static final List<Integer> FACTORS = [1, 2, 3, 4, 5, 10, 20, 50, 100]
    static final List<String> HIDDEN = ["line", "colour"]
    static final Color SHADE = new Color(0, 0, 0, 150)

    /** A mosaic with the outlines of its tiles, an arrow for each that moved, and its seams coloured by residual. */
    static ImagePlus mosaic(Map picture) {
        ImagePlus image = opened(picture.path as String)
        if (!picture.view) return image
        Map view = read(picture.view as String)
        if (view.title) image.title = view.title
        calibrate(image, view.pixel_size as List)
        image.overlay = mosaicOverlay(view)
        return image
    }

    /** Two slices, the fixed and the moving tile's part of the overlap, with a line for each match. */
    static ImagePlus pair(Map stack) {
        ImagePlus image = opened(stack.path as String)
        Map view = read(stack.view as String)
        if (view.title) image.title = view.title
        image.overlay = pairOverlay(view)
        if (image.stackSize == 2) {
            image.getStack().setSliceLabel(view.fixed as String, 1)
            image.getStack().setSliceLabel(view.moving as String, 2)
        }
        return image
    }

    /** A volume; read slice by slice as it is looked at when it would take more than a third of the memory. */
    static ImagePlus stack(String path) {
        if (new File(path).length() * 3 <= IJ.maxMemory()) return opened(path)
        ImagePlus image = IJ.openVirtual(path)
        if (image == null) throw new Problem("ImageJ could not open ${path}.")
        return image
    }

    /** A picture of any format that ImageJ reads. */
    static ImagePlus image(String path) {
        ImagePlus image = new File(path).isFile() ? new Opener().openImage(path) : null
        if (image == null) throw new Problem("ImageJ could not open ${path}.")
        return image
    }

    /** The seams of a mosaic, worst first, with the names of the images where these differ from tile to tile. */
    static List<Map> seams(Map view) {
        Map names = (view.tiles as List<Map>).collectEntries { [it.id, it.name] }
        if ((names.values() as Set).size() < names.size()) names = [:]
        return (view.seams as List<Map>).collect { Map row ->
            row + ["tile A": names[row["tile A"]] ?: row["tile A"], "tile B": names[row["tile B"]] ?: row["tile B"]]
        }
    }

    /** A table of rows; numbers keep three decimals, lists are left out. */
    static ResultsTable table(List<Map> rows) {
        ResultsTable table = new ResultsTable()
        table.showRowNumbers(false)
        List<String> heads = rows.collectMany { it.keySet() }.unique().findAll { String head ->
            !(head in HIDDEN) && !rows.any { it[head] instanceof Collection || it[head] instanceof Map }
        }
        rows.each { Map row ->
            table.addRow()
            heads.each { cell(table, it, row[it]) }
        }
        heads.each { String head ->
            boolean whole = rows.every { it[head] == null || it[head] instanceof Integer || it[head] instanceof Long }
            int column = table.getColumnIndex(head)
            if (column >= 0) table.setDecimalPlaces(column, whole ? 0 : 3)
        }
        return table
    }

    private static void cell(ResultsTable table, String key, Object value) {
        if (value instanceof Number) table.addValue(key, value.doubleValue())
        else if (value instanceof Boolean) table.addValue(key, value ? "yes" : "no")
        else table.addValue(key, value == null ? "-" : value.toString())
    }

    /** Windows side by side on the screen, each as large as fits. */
    static void showTiled(List<ImagePlus> images) {
        Dimension screen = IJ.screenSize
        int wide = (int) Math.max(160.0d, (screen.width - 20) / Math.max(1, images.size()))
        images.eachWithIndex { ImagePlus image, int k ->
            image.show()
            if (image.window == null) return
            double zoom = Math.min((wide - 20) / (double) image.width, (screen.height - 260) / (double) image.height)
            zoom = Math.min(zoom, Math.max(image.width, image.height) < SMALL ? 2.0d : 1.0d)
            EventQueue.invokeAndWait { fit(image, zoom, 10 + k * wide) }
        }
    }

    private static void fit(ImagePlus image, double zoom, int left) {
        image.canvas.setMagnification(zoom)
        image.canvas.setSize((int) Math.ceil(zoom * image.width), (int) Math.ceil(zoom * image.height))
        image.window.pack()
        image.canvas.setSourceRect(new Rectangle(0, 0, image.width, image.height))
        image.window.setLocation(left, 130)
        image.window.repaint()
    }

    /** Numbers that the worker wrote, from a file. */
    static Map read(String path) {
        return new JsonSlurper().parse(new File(path), "UTF-8") as Map
    }

    private static ImagePlus opened(String path) {
        File file = new File(path)
        ImagePlus image = file.isFile() ? new Opener().openTiff(file.parent + File.separator, file.name) : null
        if (image == null) throw new Problem("ImageJ could not open ${path}.")
        return image
    }

    private static void calibrate(ImagePlus image, List size) {
        if (size == null) return
        image.calibration.pixelWidth = size[0] as double
        image.calibration.pixelHeight = size[0] as double
        image.calibration.unit = size[1] as String
    }

    private static Overlay mosaicOverlay(Map view) {
        Overlay overlay = new Overlay()
        double stroke = width(view)
        view.tiles.each { overlay.add(outline(it, stroke)) }
        view.seams.each { overlay.add(seam(it, stroke * 2)) }
        int factor = exaggeration(view)
        view.arrows.each { overlay.add(arrow(it, stroke * 1.2d, factor)) }
        if (view.tiles.size() <= MOST_NAMES) view.tiles.each { overlay.add(label(it, view)) }
        if (!view.arrows.isEmpty()) overlay.add(note("arrows: how tiles moved" + (factor > 1 ? ", ${factor} times as long".toString() : ""), view))
        return overlay
    }

    private static Overlay pairOverlay(Map view) {
        Overlay overlay = new Overlay()
        view.lines.eachWithIndex { List line, int k ->
            Color colour = Color.decode(view.colours[k] as String)
            double far = Math.hypot((line[2] - line[0]) as double, (line[3] - line[1]) as double)
            Roi match = new Line(line[0] as double, line[1] as double, line[2] as double, line[3] as double)
            match.setStrokeColor(colour)
            match.setStrokeWidth(far < 1 ? 1.0d : Math.max(1.0d, width(view) * 0.5d))
            match.setName("match ${k + 1}: ${line[4]} px".toString())
            overlay.add(match)
            overlay.add(dot(line[0] as double, line[1] as double, colour, 1))
            overlay.add(dot(line[2] as double, line[3] as double, colour, 2))
        }
        return overlay
    }

    private static Roi dot(double x, double y, Color colour, int slice) {
        PointRoi point = new PointRoi(x, y)
        point.setPointType(PointRoi.DOT)
        point.setSize(1)
        point.setStrokeColor(colour)
        point.setPosition(slice)
        return point
    }

    private static Roi outline(Map tile, double stroke) {
        List corners = tile.outline as List
        Roi roi = new PolygonRoi(corners.collect { it[0] as float } as float[], corners.collect { it[1] as float } as float[], Roi.POLYGON)
        roi.setStrokeColor(Color.decode(tile.colour as String))
        roi.setStrokeWidth(stroke)
        roi.setName(tile.name as String)
        return roi
    }

    private static Roi seam(Map row, double stroke) {
        List line = row.line as List
        Roi roi = new Line(line[0] as double, line[1] as double, line[2] as double, line[3] as double)
        roi.setStrokeColor(Color.decode(row.colour as String))
        roi.setStrokeWidth(stroke)
        roi.setName("${row['tile A']} - ${row['tile B']}".toString())
        return roi
    }

    private static Roi arrow(Map move, double stroke, int factor) {
        double x = move.to[0] as double, y = move.to[1] as double
        double fromX = x - factor * (x - (move.from[0] as double)), fromY = y - factor * (y - (move.from[1] as double))
        Arrow roi = new Arrow(fromX, fromY, x, y)
        roi.setStrokeColor(Color.WHITE)
        roi.setStrokeWidth(stroke)
        roi.setHeadSize(4.0d * stroke)
        roi.setStyle(Arrow.OPEN)
        roi.setName("${move.id}: ${move.moved_px} px".toString())
        return roi
    }

    /** How many times arrows are drawn too long, so that the longest is at most a tenth of the picture. */
    private static int exaggeration(Map view) {
        double longest = (view.arrows.collect { Math.hypot((it.to[0] - it.from[0]) as double, (it.to[1] - it.from[1]) as double) }.max() ?: 0) as double
        double room = Math.max(view.width as int, view.height as int) / 10.0d
        return longest <= 0 ? 1 : (FACTORS.findAll { it * longest <= room }.max() ?: 1)
    }

    private static Roi label(Map tile, Map view) {
        List corners = tile.outline as List
        double x = corners.collect { it[0] as double }.min(), y = corners.collect { it[1] as double }.min()
        double gap = 3 * width(view)
        return text(tile.name as String, Math.max(0.0d, x) + gap, Math.max(0.0d, y) + gap, size(view), Color.decode(tile.colour as String))
    }

    private static Roi note(String words, Map view) {
        int points = size(view)
        return text(words, 3 * width(view), (view.height as double) - 2.2d * points, points, Color.WHITE)
    }

    private static Roi text(String words, double x, double y, int points, Color colour) {
        TextRoi roi = new TextRoi(x, y, words, new Font("SansSerif", Font.PLAIN, points))
        roi.setStrokeColor(colour)
        roi.setFillColor(SHADE)
        roi.setName("label")
        return roi
    }

    private static double width(Map view) {
        return Math.max(1.0d, Math.max(view.width as int, view.height as int) / 600.0d)
    }

    private static int size(Map view) {
        return Math.max(9, (int) (Math.max(view.width as int, view.height as int) / 55))
    }
}
