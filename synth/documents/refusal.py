"""Why a document is not read."""


class Refused(Exception):
    """A document that cannot or will not be read; the message says why, and what to do, without naming it."""
