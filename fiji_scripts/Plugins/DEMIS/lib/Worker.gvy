import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import ij.IJ

import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit

/**
 * One warm Python for all commands of this Fiji, and the words that are exchanged with it: a JSON object a line.
 *
 * The process stays between commands, in a property of ImageJ made of plain Java objects, so that scripts that are
 * loaded anew can go on with it. It ends when Fiji ends: its standard input is closed then.
 */
class Worker {
    static final int API = 1
    static final String KEY = "demis_ij.worker"
    static final int LAST_LINES = 50
    static final long FIRST_WORD_MS = 180000L
    static final long STOP_MS = 15000L
    static final Map END = [responseType: "END"]

    private final Map state
    private final String version

    private Worker(Map state, String version) {
        this.state = state
        this.version = version
    }

    /** The worker of a Python: the one that runs, or a new one when it died or another Python was chosen. */
    static synchronized Worker of(String python, String version) {
        Map state = IJ.getProperty(KEY) as Map
        String key = python + "\n" + version
        if (state != null && (state.key != key || state.ended || !state.process.isAlive())) {
            close(state)
            state = null
        }
        if (state == null) {
            state = started(python, key)
            IJ.setProperty(KEY, state)
        }
        return new Worker(state, version)
    }

    /** End the process, if there is one. */
    static synchronized void end() {
        Map state = IJ.getProperty(KEY) as Map
        if (state != null) close(state)
        IJ.setProperty(KEY, null)
    }

    private static void close(Map state) {
        try {
            state.writer.close()
        } catch (IOException ignored) {
            // it is gone already
        }
        if (!state.process.waitFor(2, TimeUnit.SECONDS)) state.process.destroyForcibly()
    }

    private static Map started(String python, String key) {
        ProcessBuilder builder = new ProcessBuilder([python, "-u", "-m", "demis_ij.worker"])
        Pythons.prepare(builder, python)
        Process process
        try {
            process = builder.start()
        } catch (IOException error) {
            throw new Problem("Python could not be started: ${python} (${error.message}). ${Pythons.REMEDY}")
        }
        Map state = new ConcurrentHashMap([
            key: key, python: python, process: process, replies: new ConcurrentHashMap(), tail: new ArrayDeque(),
            ended: false, spoke: false, born: System.currentTimeMillis(),
            writer: new BufferedWriter(new OutputStreamWriter(process.outputStream, "UTF-8")),
        ])
        state.errors = daemon("demis_ij worker: standard error") { drain(state) }
        daemon("demis_ij worker: replies") { listen(state) }
        return state
    }

    private static Thread daemon(String name, Closure work) {
        Thread thread = new Thread(work as Runnable, name)
        thread.daemon = true
        thread.start()
        return thread
    }

    private static void drain(Map state) {
        try {
            state.process.errorStream.newReader("UTF-8").eachLine { String line ->
                synchronized (state.tail) {
                    state.tail.addLast(line)
                    if (state.tail.size() > LAST_LINES) state.tail.removeFirst()
                }
            }
        } catch (IOException ignored) {
            // the process ended
        }
    }

    private static void listen(Map state) {
        JsonSlurper slurper = new JsonSlurper()
        try {
            state.process.inputStream.newReader("UTF-8").eachLine { String line ->
                Object reply = null
                try {
                    reply = line.startsWith("{") ? slurper.parseText(line) : null
                } catch (RuntimeException ignored) {
                    // a stray print of some library
                }
                if (reply instanceof Map && reply.responseType && reply.task) {
                    state.spoke = true
                    state.replies.get(reply.task)?.put(reply)
                }
            }
        } catch (IOException ignored) {
            // the process ended
        }
        state.ended = true
        state.replies.values().each { it.put(END) }
    }

    /**
     * Have a verb done.
     *
     * @param bar a task of SciJava's TaskService: progress goes there, and its stop button stops the verb
     * @return the outputs
     * @throws Problem with one sentence, Stopped when the user stopped it
     */
    Map ask(String verb, Map inputs, Object bar) {
        String id = UUID.randomUUID().toString()
        LinkedBlockingQueue replies = new LinkedBlockingQueue()
        state.replies.put(id, replies)
        List<Long> stopped = Collections.synchronizedList([])
        bar.setCancelCallBack({ if (stopped.isEmpty()) { stopped << System.currentTimeMillis(); send([task: id, requestType: "CANCEL"]) } } as Runnable)
        try {
            Map all = inputs.findAll { it.value != null } + [client: [version: version, api: API]]
            send([task: id, requestType: "EXECUTE", script: verb, inputs: all])
            if (state.ended) replies.put(END)
            return answer(replies, bar, stopped)
        } finally {
            state.replies.remove(id)
            bar.setCancelCallBack(null)
        }
    }

    private Map answer(LinkedBlockingQueue replies, Object bar, List<Long> stopped) {
        while (true) {
            Map reply = replies.poll(100, TimeUnit.MILLISECONDS) as Map
            if (reply == null) {
                watch(bar, stopped)
                continue
            }
            switch (reply.responseType) {
                case "LAUNCH": compare(reply.info as Map, bar); break
                case "UPDATE": show(reply, bar, stopped); break
                case "COMPLETION": return (reply.outputs ?: [:]) as Map
                case "CANCELATION": throw new Stopped("stopped; run the same again to go on")
                case "FAILURE": throw failure(reply.error as String)
                case "END": throw crash(!stopped.isEmpty())
            }
        }
    }

    private void watch(Object bar, List<Long> stopped) {
        if (IJ.getInstance() != null && stopped.isEmpty() && IJ.escapePressed()) bar.cancel("Esc was pressed")
        long now = System.currentTimeMillis()
        if (!stopped.isEmpty() && now - stopped[0] > STOP_MS) {
            end()
            throw new Stopped("stopped; the worker did not answer and was ended; run the same again to go on")
        }
        if (!state.spoke && now - (state.born as long) > FIRST_WORD_MS) {
            String last = lastWords()
            end()
            throw new Problem("${state.python} did not answer as demis_ij's worker does within ${FIRST_WORD_MS.intdiv(1000)} s. ${Pythons.REMEDY}", last)
        }
    }

    private void compare(Map info, Object bar) {
        if (info?.api == API) return
        String found = info?.version ? "demis_ij ${info.version} (api ${info.api})" : "a version that does not say its name"
        bar.cancel("another version")
        end()
        throw new Problem("The Python in ${state.python} has ${found}, this menu is of demis_ij ${version} (api ${API}): " +
            "run 'demis-ij fiji install' with that Python again, so that both are of one version.")
    }

    private static void show(Map reply, Object bar, List<Long> stopped) {
        if (!stopped.isEmpty()) return
        if (reply.message) {
            bar.setStatusMessage(reply.message as String)
            IJ.showStatus("demis_ij: " + reply.message)
        }
        if (reply.maximum) {
            long current = (reply.current ?: 0) as long, maximum = reply.maximum as long
            bar.setProgressMaximum(maximum)
            bar.setProgressValue(current)
            IJ.showProgress(current / (double) maximum)
        }
    }

    private static Problem failure(String error) {
        String text = error ?: "The worker failed and did not say why."
        int cut = text.indexOf("\n")
        return cut < 0 ? new Problem(text) : new Problem(text.substring(0, cut).trim(), text.substring(cut).trim())
    }

    private RuntimeException crash(boolean stopped) {
        state.process.waitFor(5, TimeUnit.SECONDS)
        state.errors.join(2000)
        Object code = state.process.isAlive() ? "none: it closed its output" : state.process.exitValue()
        state.process.destroyForcibly()
        String last = lastWords()
        if (stopped) return new Stopped("stopped; run the same again to go on")
        if (last.contains("No module named 'demis_ij'") || last.contains("No module named demis_ij"))
            return new Problem("${state.python} has no demis_ij: run 'pip install demis_ij' with it. ${Pythons.REMEDY}", last)
        if (!state.spoke)
            return new Problem("${state.python} ended (exit code ${code}) before it answered as demis_ij's worker does: it is no Python, or its demis_ij is broken. ${Pythons.REMEDY}", last)
        String word = last.isEmpty() ? "" : ": " + last.readLines().last().trim()
        return new Problem("The Python worker ended unexpectedly (exit code ${code}${word}); the next command starts a new one, " +
            "and the same command goes on from what was done.", last)
    }

    private String lastWords() {
        synchronized (state.tail) {
            return state.tail.join("\n")
        }
    }

    private void send(Map request) {
        try {
            synchronized (state.writer) {
                state.writer.write(JsonOutput.toJson(request) + "\n")
                state.writer.flush()
            }
        } catch (IOException ignored) {
            // its end is noticed where replies are read
        }
    }
}
