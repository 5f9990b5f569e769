"""Chatbox: self-hosted, embeddable, real-time AI chat over one WebSocket."""

__version__ = "0.1.0"
