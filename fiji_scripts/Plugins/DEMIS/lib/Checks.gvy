import groovy.lang.GroovySystem
import ij.IJ

/** What this ImageJ has, and what the worker says of its Python: rows of part, ok, found, remedy. */
class Checks {

    /** What can be said without a Python. */
    static List<Map> own(Command command) {
        List<Map> rows = [
            row("scripts of this menu", true, "${Command.VERSION} in ${command.folder}", ""),
            row("ImageJ", true, IJ.fullVersion, ""),
            row("Java", true, "${System.getProperty('java.version')} (${System.getProperty('java.vendor')})", ""),
            row("Groovy", true, GroovySystem.version, ""),
        ]
        return rows + trakem2(command.folder)
    }

    /** TrakEM2 2.0.0 cannot write its own projects on Java 9 or newer. */
    static List<Map> trakem2(File folder) {
        File jar = plugins(folder).collectMany { (it.listFiles() ?: []) as List }.find { it.name ==~ /TrakEM2_-.*\.jar/ }
        if (jar == null) return [row("TrakEM2", true, "none in this ImageJ", "")]
        boolean bad = jar.name == "TrakEM2_-2.0.0.jar" && !System.getProperty("java.specification.version").startsWith("1.")
        return [row("TrakEM2", !bad, jar.name, bad
            ? "TrakEM2 2.0.0 cannot save projects with this Java: update TrakEM2 to 2.0.1. What demis_ij writes is not concerned." : "")]
    }

    private static List<File> plugins(File folder) {
        List<String> homes = [IJ.getDirectory("imagej"), folder.parentFile?.parentFile?.parent].findAll { it }
        return homes.collect { new File(it, "plugins") }.unique().findAll { it.isDirectory() }
    }

    /** Which Python is used and from where that is known, and what its worker finds. */
    static List<Map> python(Command command, Object given) {
        String python = Pythons.chosen(command.folder, given)
        Map stored = Inputs.blank(given) ? Pythons.stored(command.folder) : null
        List<Map> rows = [row("Python of this menu", true, python + (stored ? " (stored in ${stored.where})" : " (given)"), "")]
        return rows + (command.ask("check", [:], python).findings as List).collect { row(it.part, it.ok, it.found, it.remedy) }
    }

    /** The rows that are not well, a line each. */
    static List<String> problems(List findings) {
        return findings.findAll { !it.ok || it.ok == "no" }.collect { "${it.part}: ${it.found}${it.remedy ? ' - ' + it.remedy : ''}".toString() }
    }

    /** One sentence about all rows. */
    static String sentence(List<Map> rows) {
        List<Map> bad = rows.findAll { it.ok == "no" }
        if (bad.isEmpty()) return "All is well: ${rows.size()} parts were looked at."
        return "${bad.size()} of ${rows.size()} parts need care: " + bad.collect { "${it.part}: ${it.remedy ?: it.found}" }.join("; ")
    }

    private static Map row(Object part, Object ok, Object found, Object remedy) {
        return [part: part as String, ok: ok ? "yes" : "no", found: found as String, remedy: (remedy ?: "") as String]
    }
}
