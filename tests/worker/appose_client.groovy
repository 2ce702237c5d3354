// A real Appose client drives our worker: every kind of ending, from Java.
#@ java.util.List jars
#@ java.util.List command
#@ String layout
#@ String larger
#@ String out
#@output java.util.Map found

def urls = jars.collect { new File(it as String).toURI().toURL() } as URL[]
def loader = new URLClassLoader(urls, this.class.classLoader)

def look = { task -> [status: task.status.toString(), error: task.error, outputs: task.outputs] }

def service = loader.loadClass("org.apposed.appose.Service")
    .getConstructor(File, String[]).newInstance(new File("."), command as String[])
found = [version: loader.loadClass("org.apposed.appose.Appose").getMethod("version").invoke(null)]
try {
  def plan = service.task("plan", [layout: layout])
  plan.waitFor()
  found.plan = look(plan)

  def stitch = service.task("stitch", [layout: layout, matcher: "sift", out: out, settings: [max_error_px: 5]])
  def events = Collections.synchronizedList([])
  stitch.listen { e -> events << [e.responseType.toString(), e.message, e.current, e.maximum] }
  stitch.start()
  stitch.waitFor()
  found.stitch = look(stitch)
  found.events = events

  def stopped = service.task("stitch", [layout: larger, out: out + " stopped", project_out: out + " stopped"])
  def underWay = new java.util.concurrent.CountDownLatch(1)
  stopped.listen { e -> if (e.responseType.toString() == "UPDATE" && e.message.contains("pairs")) underWay.countDown() }
  stopped.start()
  underWay.await(100, java.util.concurrent.TimeUnit.SECONDS)
  stopped.cancel()
  stopped.waitFor()
  found.cancelled = look(stopped)

  def failed = service.task("stitch", [layout: layout, matcher: "lofter"])
  failed.waitFor()
  found.failed = look(failed)

  def unknown = service.task("import numpy as np", [:])
  unknown.waitFor()
  found.unknown = look(unknown)
  found.invalid = service.invalidLines()
  found.alive = service.isAlive()
} finally {
  service.close()
  found.code = service.waitFor()
}

def broken = loader.loadClass("org.apposed.appose.Service")
    .getConstructor(File, String[]).newInstance(new File("."), command.collect { it == "-u" ? "-h" : it } as String[])
try {
  def task = broken.task("check", [:])
  task.waitFor()
  found.broken = look(task)
} catch (IOException e) {
  found.broken = [status: "CRASHED", error: e.message]  // it was gone before it could be asked
} finally {
  broken.close()
}
