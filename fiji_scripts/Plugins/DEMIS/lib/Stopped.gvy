/** The user pressed stop. */
class Stopped extends RuntimeException {
    Stopped(String sentence) { super(sentence) }
}
