"""The verbs over JSON lines, for Fiji and for clients of one's own: ``python -u -m demis_ij.worker``.

``wire``    lines in and out: requests read, answers written by a thread of their own
``tasks``   one task after the other in the main thread; cancelling
``inputs``  nothing a client sends is believed: types, ranges, names
``given``   what is common to verbs that work on a layout
``verbs``   one file a verb

The language is Appose's wire protocol; docs/howto/worker.md explains it to those who write a client.
"""

API = 1
"""Version of the language; another one cannot be understood."""
