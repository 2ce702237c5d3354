package ini.trakem2.display

/** What is no image: labels, areas, trees. */
interface VectorData {}
