import pytest
from hypothesis import settings

pytest_plugins = ["tests.readiness_plugin"]

# The same examples in every run, and no deadline: a busy machine is not a failure.
settings.register_profile("chatbox", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("chatbox")


def pytest_collection_modifyitems(items):
    """Slow tests run without coverage, which would double their time. Their files come first: a long one that is begun
    last keeps one process busy and leaves the others idle."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    for item in slow:
        item.add_marker(pytest.mark.no_cover)
    files = {item.path for item in slow}
    items.sort(key=lambda item: item.path not in files)
