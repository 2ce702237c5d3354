package ini.trakem2.persistence

import groovy.transform.CompileStatic

/** The loader of a project that is an XML file. */
@CompileStatic
class FSLoader extends Loader {
    private final String xml, unuid

    FSLoader(String xml, String unuid) {
        this.xml = xml
        this.unuid = unuid
    }

    String getProjectXMLPath() { xml }

    @Override
    String getUNUId() { unuid }
}
