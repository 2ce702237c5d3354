/** What SciJava does not check when a value is passed as an argument: every method returns a good value or throws. */
class Inputs {

    /** A file that is there. */
    static String file(String label, Object given) {
        File file = path(label, given)
        if (file.isDirectory()) throw new Problem("${label}: ${file} is a folder, needed a file.")
        if (!file.isFile()) throw new Problem("${label}: there is no file ${file}.")
        return file.path
    }

    /** A folder that is there. */
    static String folder(String label, Object given) {
        File file = path(label, given)
        if (file.isFile()) throw new Problem("${label}: ${file} is a file, needed a folder.")
        if (!file.isDirectory()) throw new Problem("${label}: there is no folder ${file}.")
        return file.path
    }

    /** A file or a folder that is there. */
    static String fileOrFolder(String label, Object given) {
        File file = path(label, given)
        if (!file.exists()) throw new Problem("${label}: there is no file or folder ${file}.")
        return file.path
    }

    /** A path below a folder that is there; nothing is there yet. */
    static String newFile(String label, Object given) {
        File file = path(label, given)
        if (file.exists()) throw new Problem("${label}: ${file} exists already and is never overwritten: choose another name.")
        if (!file.parentFile?.isDirectory()) throw new Problem("${label}: there is no folder ${file.parentFile}.")
        return file.path
    }

    /** A path that may be new, or null when nothing was given. */
    static String pathOrNull(String label, Object given) {
        return blank(given) ? null : path(label, given).path
    }

    /** A folder that is there, or null when nothing was given. */
    static String folderOrNull(String label, Object given) {
        return blank(given) ? null : folder(label, given)
    }

    /** One of the choices, in whichever case it was typed. */
    static String choice(String label, Object given, List<String> choices) {
        String text = given == null ? "" : given.toString().trim()
        String found = choices.find { it.equalsIgnoreCase(text) }
        if (found == null) throw new Problem("${label}: '${text}' is not one of ${choices.join(', ')}.")
        return found
    }

    /** A number within its limits. */
    static double number(String label, Object given, double least, double most) {
        Double value = numberOrNull(label, given, least, most)
        if (value == null) throw new Problem("${label}: needed a number from ${plain(least)} to ${plain(most)}, found nothing.")
        return value
    }

    /** A number within its limits, or null when nothing was given. */
    static Double numberOrNull(String label, Object given, double least, double most) {
        if (blank(given)) return null
        Double value = null
        try {
            value = Double.valueOf(given.toString().trim())
        } catch (NumberFormatException ignored) {
            value = Double.NaN
        }
        if (!(value >= least && value <= most))
            throw new Problem("${label}: needed a number from ${plain(least)} to ${plain(most)}, found '${given}'.")
        return value
    }

    /** A whole number within its limits. */
    static int whole(String label, Object given, int least, int most) {
        Integer value = wholeOrNull(label, given, least, most)
        if (value == null) throw new Problem("${label}: needed a whole number from ${least} to ${most}, found nothing.")
        return value
    }

    /** A whole number within its limits, or null when nothing was given. */
    static Integer wholeOrNull(String label, Object given, int least, int most) {
        Double value = numberOrNull(label, given, least, most)
        if (value == null) return null
        if (value != Math.rint(value)) throw new Problem("${label}: needed a whole number, found '${given}'.")
        return value.intValue()
    }

    /** The parts of a list that commas separate; null when nothing was given. */
    static List<String> names(Object given) {
        if (blank(given)) return null
        return given.toString().split(",").collect { it.trim() }.findAll { !it.isEmpty() }
    }

    /** Whether a value counts as not given. */
    static boolean blank(Object given) {
        return given == null || given.toString().trim().isEmpty()
    }

    private static File path(String label, Object given) {
        if (blank(given)) throw new Problem("${label}: nothing was given.")
        String text = given instanceof File ? ((File) given).path : given.toString().trim()
        if (text.startsWith("~" + File.separator)) text = System.getProperty("user.home") + text.substring(1)
        return new File(text).absoluteFile
    }

    private static String plain(double value) {
        return value == Math.rint(value) && Math.abs(value) < 1e9 ? String.valueOf((long) value) : String.valueOf(value)
    }
}
