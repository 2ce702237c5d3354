package ini.trakem2

import groovy.transform.CompileStatic
import ini.trakem2.display.Display
import ini.trakem2.display.LayerSet
import ini.trakem2.persistence.Loader

/** An open project. */
@CompileStatic
class Project {
    private static final ArrayList<Project> OPEN = []
    /** Which rules were broken, for the tests. */
    static final List<String> violations = Collections.synchronizedList(new ArrayList<String>())

    private final Loader loader
    private final String title
    private boolean inputDisabled = false
    /** How often input was taken away, for the tests. */
    int timesLocked = 0
    private final LayerSet root

    Project(Loader loader, String title) {
        this.loader = loader
        this.title = title
        this.root = new LayerSet(this)
        OPEN.add(this)
    }

    static ArrayList<Project> getProjects() { new ArrayList<Project>(OPEN) }

    static void closeAll() {
        OPEN.clear()
        violations.clear()
        Display.closeAll()
    }

    Loader getLoader() { loader }

    String getTitle() { title }

    LayerSet getRootLayerSet() { root }

    boolean isInputEnabled() { !inputDisabled }

    void setReceivesInput(boolean b) {
        if (!b) timesLocked++
        inputDisabled = !b
    }
}
