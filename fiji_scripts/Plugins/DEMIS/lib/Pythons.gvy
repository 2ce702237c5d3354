import java.time.DateTimeException
import java.time.Instant
import java.util.concurrent.TimeUnit

/** Which Python the commands use: where that is stored, and what an environment's folder means on this machine. */
class Pythons {
    static final String REMEDY = "Set one with Plugins > DEMIS > Set Python Environment."
    static final String FILE = "demis_ij.properties"
    static final long ANSWER_S = 120L
    static final boolean WINDOWS = System.getProperty("os.name", "").toLowerCase(Locale.ROOT).startsWith("windows")

    /** The two files that may name a Python: in Fiji's folder of the scripts, and in the user's home. */
    static List<File> stores(File folder) {
        return [new File(folder, FILE), new File(new File(System.getProperty("user.home"), ".demis_ij"), FILE)]
    }

    /** What is stored: python, where and stored; the newer of the two files. Null when neither names one. */
    static Map stored(File folder) {
        List<Map> found = stores(folder).collect { read(it) }.findAll { it != null }
        return found.isEmpty() ? null : found.max { it.stored }
    }

    private static Map read(File file) {
        if (!file.isFile()) return null
        Properties values = new Properties()
        try {
            file.withInputStream { values.load(it) }
        } catch (IOException | IllegalArgumentException error) {
            throw new Problem("${file} cannot be read: ${error.message}. ${REMEDY}")
        }
        String python = values.getProperty("python", "").trim()
        if (python.isEmpty()) return null
        Instant when = Instant.EPOCH
        try {
            when = Instant.parse(values.getProperty("stored", ""))
        } catch (DateTimeException ignored) {
            // written by hand: the other file, if it has a time, is newer
        }
        return [python: python, where: file, stored: when]
    }

    /** Store a Python; beside the scripts, or in the user's home when that folder cannot be written. Return where. */
    static File store(File folder, String python) {
        IOException last = null
        for (File file : stores(folder)) {
            try {
                file.parentFile.mkdirs()
                Properties values = new Properties()
                values.setProperty("python", python)
                values.setProperty("stored", Instant.now().toString())
                File fresh = new File(file.parentFile, file.name + ".part")
                fresh.withOutputStream { values.store(it, "The Python that the DEMIS commands use") }
                if (!fresh.renameTo(file)) {
                    file.delete()
                    if (!fresh.renameTo(file)) throw new IOException("cannot rename ${fresh}")
                }
                return file
            } catch (IOException error) {
                last = error
            }
        }
        throw new Problem("The choice could not be stored in ${stores(folder).join(' or ')}: ${last.message}.")
    }

    /** The Python to use: the one given, else the stored one. */
    static String chosen(File folder, Object given) {
        if (!Inputs.blank(given)) {
            String text = given.toString().trim()
            File file = new File(text)
            if (file.isDirectory()) return inFolder(file)
            if ((file.isAbsolute() || text.contains("/")) && !file.isFile()) throw new Problem("There is no Python at ${text}. ${REMEDY}")
            return text
        }
        Map found = stored(folder)
        if (found == null)
            throw new Problem("No Python is set: looked in ${stores(folder).join(' and ')}. ${REMEDY}")
        if (!new File(found.python as String).isFile())
            throw new Problem("There is no Python at ${found.python} any more (stored in ${found.where}). ${REMEDY}")
        return found.python
    }

    /** The interpreter that a path means: the file itself, or the one of an environment's folder. */
    static String interpreter(String path) {
        File file = new File(path)
        return file.isDirectory() ? inFolder(file) : file.absolutePath
    }

    /** The interpreter of an environment that Appose builds; Appose is no part of this menu, and Fiji may lack it. */
    static String built(Object command) {
        Class appose
        try {
            appose = Pythons.classLoader.loadClass("org.apposed.appose.Appose")
        } catch (ClassNotFoundException ignored) {
            throw new Problem("This Fiji has no Appose (the jar appose), so it cannot build an environment: " +
                "make one with 'python -m venv' or conda, install demis_ij there, and choose its folder.")
        }
        Object bar = command.tasks.createTask("demis_ij: Appose builds an environment")
        bar.start()
        try {
            Object builder = appose.pixi().name("demis_ij").channels("conda-forge").conda("python=3.12", "appose").pypi("demis_ij")
            builder = builder.subscribeProgress({ title, current, maximum -> bar.setStatusMessage(title as String) })
            return inFolder(new File(builder.build().base() as String))
        } catch (Exception error) {
            if (error instanceof Problem) throw error
            throw new Problem("Appose could not build the environment: ${error.message}.", error.toString())
        } finally {
            bar.finish()
        }
    }

    /** The interpreter of an environment's folder: venv, conda, a folder with .venv, or a pixi project. */
    static String inFolder(File folder) {
        List<String> below = WINDOWS ? ["python.exe", "Scripts/python.exe", "bin/python.exe"] : ["bin/python", "bin/python3"]
        List<File> places = [folder, new File(folder, ".venv"), new File(folder, ".pixi/envs/default")]
        for (File place : places)
            for (String name : below) {
                File file = new File(place, name)
                if (file.isFile()) return file.absolutePath
            }
        throw new Problem("There is no Python in ${folder}: looked for ${below.join(', ')}, also below .venv and .pixi/envs/default.")
    }

    /** Give a process what a Python of this place needs, and take from it what Fiji's own Python would mean. */
    static void prepare(ProcessBuilder builder, String python) {
        Map<String, String> env = builder.environment()
        ["PYTHONHOME", "__PYVENV_LAUNCHER__"].each { env.remove(it) }
        env.put("PYTHONUTF8", "1")
        env.put("PYTHONIOENCODING", "utf-8")
        env.put("PYTHONSAFEPATH", "1")
        builder.directory(new File(System.getProperty("user.home")))
        if (!WINDOWS) return
        File home = new File(python).absoluteFile.parentFile
        if (!new File(home, "conda-meta").isDirectory()) return
        String path = env.keySet().find { it.equalsIgnoreCase("PATH") } ?: "PATH"
        List<String> first = [home.path] + ["Library\\mingw-w64\\bin", "Library\\usr\\bin", "Library\\bin", "Scripts"].collect { home.path + "\\" + it }
        env.put(path, (first + [env.get(path) ?: ""]).join(";"))
    }

    /** Ask an interpreter who it is: [python, version, demis_ij]. Throws when it is no Python, or has no demis_ij. */
    static List<String> asked(String python) {
        String code = "import sys, platform; print('demis_ij asks'); print(sys.executable); print(platform.python_version()); import demis_ij; print(demis_ij.__version__)"
        ProcessBuilder builder = new ProcessBuilder([python, "-c", code])
        prepare(builder, python)
        builder.redirectErrorStream(true)
        Process process
        try {
            process = builder.start()
        } catch (IOException error) {
            throw new Problem("${python} cannot be started (${error.message}): needed a Python interpreter.")
        }
        process.outputStream.close()
        StringBuffer text = new StringBuffer()
        Thread reading = new Thread({ text << process.inputStream.getText("UTF-8") } as Runnable)
        reading.daemon = true
        reading.start()
        if (!process.waitFor(ANSWER_S, TimeUnit.SECONDS)) {
            process.destroyForcibly()
            throw new Problem("${python} did not answer within ${ANSWER_S} s: needed a Python interpreter.")
        }
        reading.join(5000)
        return answers(python, text.toString(), process.exitValue())
    }

    private static List<String> answers(String python, String text, int code) {
        List<String> lines = text.readLines()
        int start = lines.indexOf("demis_ij asks")
        if (start < 0) throw new Problem("${python} is no Python interpreter: it did not run a line of Python (exit code ${code}).", text)
        List<String> said = lines.subList(start + 1, lines.size())
        if (code == 0 && said.size() >= 3) return said.subList(0, 3)
        if (text.contains("No module named 'demis_ij'"))
            throw new Problem("${python} is Python ${said[1]} without demis_ij: run '${python} -m pip install demis_ij', then choose it again.", text)
        throw new Problem("${python} could not load demis_ij: ${lines.last()}.", text)
    }
}
