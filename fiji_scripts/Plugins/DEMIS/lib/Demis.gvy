import ij.IJ

/**
 * Where every script of the menu begins: it loads the classes beside this file and hands out a Command.
 *
 * Loaded classes are kept until one of the files changes, so that the next command begins sooner.
 */
class Demis {

    /**
     * @param folder the folder of the script that runs; the classes are in its folder lib
     * @param context the SciJava context, an input of the script
     * @param binding the script's own variables
     */
    static Object start(File folder, Object context, Binding binding) {
        return loader(new File(folder, "lib")).loadClass("Command").newInstance(folder, context, binding)
    }

    private static ClassLoader loader(File lib) {
        String key = "demis_ij.classes " + lib.path
        List stamp = lib.listFiles().sort().collect { [it.name, it.lastModified(), it.length()] }
        List kept = IJ.getProperty(key) as List
        if (kept != null && kept[0] == stamp) return kept[1] as ClassLoader
        GroovyClassLoader loader = new GroovyClassLoader(Demis.classLoader)
        loader.resourceLoader = { String name ->
            File source = new File(lib, name.replace('.', '/') + ".gvy")
            source.isFile() ? source.toURI().toURL() : null
        } as GroovyResourceLoader
        IJ.setProperty(key, [stamp, loader])
        return loader
    }
}
