"""What is tried again, and what an error of MongoDB means here: decided by type, label and code, never by text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import stamina
from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
    WTimeoutError,
)

from chatbox.errors import StorageBusy, StorageError
from chatbox.storage.mongo.client import MongoSettings

T = TypeVar("T")

TRANSIENT_TYPES = (ConnectionFailure, ExecutionTimeout, WTimeoutError, WriteConcernError)
"""No connection, no primary, no answer in time, or written but not yet safe."""

TRANSIENT_LABELS = ("RetryableWriteError", "TransientTransactionError", "RetryableError", "SystemOverloadedError")

TRANSIENT_CODES = frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        24,  # LockTimeout
        46,  # LockBusy
        64,  # WriteConcernFailed
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        112,  # WriteConflict
        134,  # ReadConcernMajorityNotAvailableYet
        189,  # PrimarySteppedDown
        202,  # NetworkInterfaceExceededTimeLimit
        262,  # ExceededTimeLimit
        384,  # ConnectionError
        462,  # IngressRequestRateLimitExceeded
        9001,  # SocketException
        10058,  # LegacyNotPrimary
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11601,  # Interrupted
        11602,  # InterruptedDueToReplStateChange
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
        14031,  # OutOfDiskSpace
    }
)
"""Codes of the server after which the same call may succeed later."""

DUPLICATE = 11000

REMEDIES = {
    13: "; give the user of STORE_URL the role readWrite on the database",
    18: "; check the name and password in STORE_URL",
}


class Attempts:
    """Runs operations that may be run twice, again and again while what goes wrong may pass."""

    def __init__(self, settings: MongoSettings) -> None:
        self._again = stamina.AsyncRetryingCaller(
            attempts=settings.retry_attempts,
            timeout=None,
            wait_initial=settings.retry_delay,
            wait_max=settings.retry_max_delay,
            wait_jitter=settings.retry_delay,
        ).on(transient)

    async def __call__(self, operation: Callable[[], Awaitable[T]]) -> T:
        """The operation's result. Raises ``DuplicateKeyError``, ``StorageBusy`` and ``StorageError``."""
        try:
            return await self._again(operation)
        except DuplicateKeyError:
            raise
        except (PyMongoError, BSONError) as error:
            raise translated(error) from error


async def once(operation: Awaitable[T]) -> T:
    """The operation's result, tried once. Raises as ``Attempts`` does."""
    try:
        return await operation
    except (PyMongoError, BSONError) as error:
        raise translated(error) from error


def transient(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, BulkWriteError):
        return _bulk_transient(error.details or {})
    if isinstance(error, OperationFailure) and error.code in TRANSIENT_CODES:
        return True
    labelled = isinstance(error, PyMongoError) and any(map(error.has_error_label, TRANSIENT_LABELS))
    return labelled or isinstance(error, TRANSIENT_TYPES)


def _bulk_transient(details: Any) -> bool:
    """Nothing failed for good; what was there already will be there again."""
    codes = {failed["code"] for failed in details.get("writeErrors", ())} - {DUPLICATE}
    return codes <= TRANSIENT_CODES and bool(codes or details.get("writeConcernErrors"))


def translated(error: PyMongoError | BSONError) -> StorageError:
    """MongoDB's error as one of ours. The server's text may repeat what is stored: it stays behind."""
    if isinstance(error, InvalidOperation):
        return StorageBusy("the store is closed")
    kind = StorageBusy if transient(error) else StorageError
    if isinstance(error, OperationFailure):
        name = (error.details or {}).get("codeName", "")
        remedy = REMEDIES.get(error.code or 0, "")
        return kind(f"MongoDB failed: {type(error).__name__} {error.code} {name}".rstrip() + remedy)
    return kind(f"MongoDB failed: {type(error).__name__}: {str(error)[:300]}")
