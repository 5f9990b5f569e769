import pytest_asyncio

from tests.replicas.stage import staged


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory):
    """A cluster for all tests of a module. What it said is in its folder."""
    folder = tmp_path_factory.mktemp("cluster")
    with (folder / "log.txt").open("w") as log:
        async with staged(folder, lambda name, line: print(f"{name:<8} | {line}", file=log, flush=True)) as stage:
            yield stage
