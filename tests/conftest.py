import pytest
from hypothesis import settings

pytest_plugins = ["tests.readiness_plugin"]

# The same examples in every run, and no deadline: a busy machine is not a failure.
settings.register_profile("chatbox", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("chatbox")


def pytest_collection_modifyitems(items):
    """Slow tests and those with a browser run without coverage, which would double their time. Files with slow ones
    come first: a long one that is begun last keeps one process busy and leaves the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.no_cover)
