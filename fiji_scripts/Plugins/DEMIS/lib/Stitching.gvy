import ij.ImagePlus
import ij.measure.ResultsTable

/** What the commands that stitch share: settings by TrakEM2's names, and how a result is shown and put in words. */
class Stitching {
    static final List<String> MATCHERS = ["auto", "LoFTR", "SIFT", "correlation"]
    static final List<String> TRANSFORMATIONS = ["translation", "rigid", "similarity", "affine", "homography"]
    static final List<String> DEVICES = ["auto", "cpu", "cuda", "mps"]
    static final int MOST_WINDOWS = 8

    /** The worker's settings, from TrakEM2's parameters. */
    static Map settings(Object maximalError, Object minimalInliers, Object minimalRatio, Object largestOnly) {
        return [
            max_error_px: Inputs.number("Maximal alignment error", maximalError, 0.1, 1000),
            min_inliers: Inputs.whole("Minimal number of inliers", minimalInliers, 3, 10000),
            min_inlier_ratio: Inputs.number("Minimal inlier ratio", minimalRatio, 0, 1),
            largest_graph_only: largestOnly as boolean,
        ]
    }

    static String matcher(Object given) { Inputs.choice("Matcher", given, MATCHERS).toLowerCase(Locale.ROOT) }

    static String transformation(Object given) { Inputs.choice("Expected transformation", given, TRANSFORMATIONS) }

    static String device(Object given) { Inputs.choice("Device", given, DEVICES) }

    /** How a folder of tiles, or a file whose format is not plain from its name, is to be read. */
    static Map reading(Object format, Object rows, Object columns, Object overlap, Object order, Object start, Object pattern) {
        Map read = [
            format: Inputs.choice("Format", format, ["auto", "trakem2", "tileconfig", "render", "text"]),
            rows: Inputs.wholeOrNull("Rows", rows, 1, 100000),
            cols: Inputs.wholeOrNull("Columns", columns, 1, 100000),
            overlap: Inputs.numberOrNull("Overlap", overlap, 0, 0.95),
            order: Inputs.choice("Order", order, ["auto", "row", "column", "snake-row", "snake-column"]),
            start: Inputs.choice("First tile", start, ["auto", "top-left", "top-right", "bottom-left", "bottom-right"]),
            pattern: Inputs.blank(pattern) ? null : pattern.toString().trim(),
        ]
        return read.findAll { it.value != null && it.value != "auto" }
    }

    /** Open the pictures; all of them come back, shown where something can be shown. */
    static List<ImagePlus> pictures(Command command, Map done) {
        List<ImagePlus> images = ((done.pictures ?: []) as List).take(MOST_WINDOWS).collect { Results.mosaic(it as Map) }
        if ((done.pictures ?: []).size() > MOST_WINDOWS)
            command.warnings << "Only ${MOST_WINDOWS} of ${done.pictures.size()} pictures are shown; all are in ${done.out}.".toString()
        if (!command.headless) Results.showTiled(images)
        return images
    }

    /** The table of seams, shown under a title of its own where something can be shown. */
    static ResultsTable seams(Command command, Map done) {
        List<Map> pictures = ((done.pictures ?: []) as List<Map>).findAll { it.view }
        List<Map> rows = pictures.collectMany { Map picture ->
            List<Map> seams = Results.seams(Results.read(picture.view as String))
            pictures.size() > 1 ? seams.collect { [section: picture.section as String] + it } : seams
        }
        ResultsTable table = Results.table(rows)
        if (!command.headless) table.show("DEMIS seams")
        return table
    }

    /** One sentence about a stitched layout, and where the files are. */
    static String sentence(Map done) {
        Map facts = done.summary as Map
        String how = ((facts.placed_by ?: [:]) as Map).collect { "${it.value} by ${it.key}" }.join(", ")
        String seams = facts.median_residual_px == null ? "" : String.format(Locale.ROOT, ", median residual %.2f px", facts.median_residual_px as double)
        List<String> files = [["Solved project", done.project], ["Solved layout", done.layout], ["Report", done.report]].findAll { it[1] }.collect { "${it[0]}: ${it[1]}." }
        return "${facts.tiles} tiles (${how}); ${facts.pairs_accepted} of ${facts.pairs} pairs agree${seams}. ${files.join(' ')}"
    }
}
