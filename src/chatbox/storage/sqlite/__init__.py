"""The embedded store.

Read ``storage`` first. It runs the ``ledger`` through ``groupcommit``, the one thread that writes, and the ``queries``
through the ``readers``. ``schema`` has the tables, ``rows`` the way from values to rows and back, ``cells`` where
sealed values lie, ``lock`` the exclusive use of the file.
"""

from chatbox.storage.sqlite.storage import SqliteStorage

__all__ = ["SqliteStorage"]
