import ij.ImagePlus
import ij.measure.ResultsTable

/** What Align Sections asks for, and how an aligned stack is shown and put in words. */
class Aligning {
    static final List<String> METHODS = ["joint", "ssemnet", "chain:affine", "chain:flow", "chain:bspline"]
    static final int MOST_NAMES = 6

    static String method(Object given) { Inputs.choice("Method", given, METHODS) }

    /** The worker's settings; what is left empty is left to it. */
    static Map settings(Object neighbours, Object smoothness) {
        Map settings = [
            neighbours: Inputs.whole("Compare with sections up to this far", neighbours, 1, 8),
            smoothness_px: Inputs.numberOrNull("Smoothness", smoothness, 0, 10000),
        ]
        return settings.findAll { it.value != null }
    }

    /** The formats of the volume. */
    static List<String> volumes(Object tiff, Object zarr) {
        List<String> formats = (tiff ? ["tiff"] : []) + (zarr ? ["ome-zarr"] : [])
        return formats ?: ["none"]
    }

    /** The aligned stack, shown where something can be shown; null when no TIFF was asked for. */
    static ImagePlus picture(Command command, Map done) {
        String path = (done.files as Map)["volume tiff"]
        if (!path) return null
        ImagePlus image = Results.stack(path)
        if (!command.headless) Results.showTiled([image])
        return image
    }

    /** A row for each section, in order, shown under a title of its own where something can be shown. */
    static ResultsTable sections(Command command, Map done) {
        ResultsTable table = Results.table((done.verdicts as List<Map>).collect { row(it) })
        if (!command.headless) table.show("DEMIS sections")
        return table
    }

    private static Map row(Map section) {
        return [
            "section": section.id, "z": section.z, "compared": section.usable,
            "NCC before": section.ncc_before, "NCC after": section.ncc_after,
            "px left before": section.residual_before_px, "px left after": section.residual_after_px,
            "turned deg": section.turn_deg, "shifted px": section.shift_px,
            "bent px": section.displacement_px, "bent px, most": section.displacement_max_px,
            "smallest area": section.min_jacobian, "flags": ((section.flags ?: []) as List).join("; "),
        ]
    }

    /** One sentence about an aligned stack, and where the files are. */
    static String sentence(Map done) {
        Map facts = done.summary as Map, files = done.files as Map
        String likeness = facts.ncc_after == null ? "" : String.format(Locale.ROOT, "; correlation of neighbours %s before, %.2f after",
            facts.ncc_before == null ? "not known" : String.format(Locale.ROOT, "%.2f", facts.ncc_before as double), facts.ncc_after as double)
        String idle = named(facts.no_better as List, "no better than doing nothing")
        String bridged = named(facts.bridged as List, "could not be compared and lie where their neighbours say")
        List<String> places = [["Volume", files["volume tiff"] ?: files["volume ome-zarr"]], ["Warps", files.warps], ["Report", files.report]]
            .findAll { it[1] }.collect { "${it[0]}: ${it[1]}.".toString() }
        return "${facts.sections} sections aligned by ${facts.method}${likeness}${idle}${bridged}. ${places.join(' ')}"
    }

    private static String named(List names, String what) {
        if (!names) return ""
        String more = names.size() > MOST_NAMES ? " and ${names.size() - MOST_NAMES} more" : ""
        return "; ${names.size()} ${what} (${names.take(MOST_NAMES).join(', ')}${more})"
    }
}
