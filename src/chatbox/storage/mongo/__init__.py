"""The store in MongoDB, for several processes at once.

Read ``storage`` first: what each call does. ``ledger`` appends entries, ``states`` brings the sessions' documents up to
their logs, ``sweep`` does that for those whose process died. ``database`` has the collections with their indexes,
``attempts`` what is tried again, ``documents`` the way from values to documents and back, ``queries`` what is searched,
``cells`` where sealed values lie, ``client`` how the connection is set up. ``source`` and ``target`` serve copies of
whole stores.
"""

from chatbox.storage.mongo.client import MongoSettings
from chatbox.storage.mongo.storage import MongoStorage
from chatbox.storage.mongo.target import MongoTarget

__all__ = ["MongoSettings", "MongoStorage", "MongoTarget"]
