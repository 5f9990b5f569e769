"""The embedded store.

Read ``storage`` first; it runs the statements of ``tables`` and ``cells`` through ``groupcommit`` (the one thread
that writes) and ``readers``. ``schema`` has the tables, ``rows`` the way from values to rows and back, ``lock`` the
exclusive use of the file.
"""

from chatbox.storage.sqlite.storage import SqliteStorage

__all__ = ["SqliteStorage"]
