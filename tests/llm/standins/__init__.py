"""Servers that follow the vendors' public APIs, for tests.

Each is shown to serve the vendor's own client library before Chatbox is tested against it. Dify has none that is
maintained: there every event cites the published API.
"""
