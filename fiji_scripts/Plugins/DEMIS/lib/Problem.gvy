/** A failure that a user can do something about: one sentence for a dialog, and perhaps more for the log. */
class Problem extends RuntimeException {
    final String detail

    Problem(String sentence, String detail = "") {
        super(sentence)
        this.detail = detail
    }
}
