/** Where every script of the menu begins: it loads the classes beside this file and hands out a Command. */
class Demis {

    /**
     * @param folder the folder of the script that runs; the classes are in its folder lib
     * @param context the SciJava context, an input of the script
     * @param binding the script's own variables
     */
    static Object start(File folder, Object context, Binding binding) {
        File lib = new File(folder, "lib")
        GroovyClassLoader loader = new GroovyClassLoader(Demis.classLoader)
        loader.resourceLoader = { String name ->
            File source = new File(lib, name.replace('.', '/') + ".gvy")
            source.isFile() ? source.toURI().toURL() : null
        } as GroovyResourceLoader
        return loader.loadClass("Command").newInstance(folder, context, binding)
    }
}
