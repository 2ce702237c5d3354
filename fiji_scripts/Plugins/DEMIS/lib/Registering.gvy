import ij.ImagePlus
import ij.measure.ResultsTable

/** What Register Images asks for, and how two registered images are shown and put in words. */
class Registering {
    static final List<String> METHODS = ["auto", "network", "search", "sift", "ecc", "log-polar", "elastix"]
    static final List<String> MODELS = ["rigid", "similarity", "affine", "elastic"]
    static final List<String> STYLES = ["none", "tissue", "steel", "fluorescence"]
    static final List<String> RANGES = ["wide", "near"]

    static String method(Object given) { Inputs.choice("Method", given, METHODS) }

    static String model(Object given) { Inputs.choice("Expected transformation", given, MODELS) }

    /** A style that ships, or the path of one's own; null for none. */
    static String style(Object given, Object own) {
        String chosen = Inputs.choice("Style", given, STYLES)
        return own ? own as String : (chosen == "none" ? null : chosen)
    }

    /** The worker's settings; what is left empty is left to it. */
    static Map settings(Object range, Object fixedSize, Object movingSize) {
        Map settings = [
            reach: Inputs.choice("Range", range, RANGES),
            fixed_pixel_size: Inputs.numberOrNull("Pixel size of the fixed image", fixedSize, 1e-9, 1e12),
            moving_pixel_size: Inputs.numberOrNull("Pixel size of the moving image", movingSize, 1e-9, 1e12),
        ]
        return settings.findAll { it.value != null }
    }

    /** The registered image, red-cyan and the checkerboard, shown where something can be shown; none without a match. */
    static List<ImagePlus> pictures(Command command, Map done) {
        List<ImagePlus> images = ((done.pictures ?: []) as List).collect { Results.image(it as String) }
        if (!images.isEmpty() && !command.headless) Results.showTiled(images)
        return images
    }

    /** One row: the transform from px of the fixed image to px of the moving one, and how sure it is. */
    static ResultsTable row(Command command, Map done) {
        ResultsTable table = Results.table(done.table as List<Map>)
        ["a", "b", "c", "d"].each { String name ->
            int column = table.getColumnIndex(name)
            if (column >= 0) table.setDecimalPlaces(column, 6)
        }
        if (!command.headless) table.show("DEMIS registration")
        return table
    }

    /** One sentence about two images, and where the files are. */
    static String sentence(Map done) {
        Map facts = done.summary as Map
        if (!facts.matched) return "The images do not match: ${facts.reason}. Report: ${done.report}."
        String error = facts.sigma_px == null ? "" : String.format(Locale.ROOT, "; error about %.2f px", facts.sigma_px as double)
        return String.format(Locale.ROOT, "Registered by %s: turned by %.2f degrees, scaled by %.4f",
            facts.method, facts.angle_deg as double, facts.scale as double) + error + ". " + bent(facts.elastic as Map) +
            "Files: ${done.out}. Report: ${done.report}."
    }

    /** What is to be said of bending; nothing where none was asked for. */
    private static String bent(Map elastic) {
        if (elastic == null) return ""
        if (!elastic.better_than_nothing) return "Bending is no better than nothing and was dropped. "
        return String.format(Locale.ROOT, "Bent by %.1f px, %.1f px at most. ", elastic.bent_px as double, elastic.bent_most_px as double)
    }
}
