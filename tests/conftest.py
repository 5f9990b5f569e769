from hypothesis import settings

pytest_plugins = ["tests.readiness_plugin"]

# The same examples in every run, and no deadline: a busy machine is not a failure.
settings.register_profile("chatbox", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("chatbox")
