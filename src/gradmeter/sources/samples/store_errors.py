"""Errors of remote stores: those that concern a single file, and those after which no other can be relied on either."""

import re

# How errors that a store has answered, or that a connection to it has, begin in pyarrow's messages.
_OF_STORE = re.compile(r"AWS Error|google::cloud::Status|Azure Error|HDFS \w+ failed")
# A file that is gone, archived, or whose owner refuses it, which trying again does not change.
_OF_ONE_FILE = re.compile(
    "ACCESS_DENIED|PERMISSION_DENIED|NO_SUCH_KEY|NOT_FOUND|INVALID_OBJECT_STATE"
    "|BlobNotFound|BlobArchived|AuthorizationPermissionMismatch"
    r"|HTTP status 4(?!08|29)\d\d"
)


def is_temporary(reason: str) -> bool:
    """Whether a remote store failed to deliver a file that it may deliver later, by the message of the error."""
    return _OF_STORE.search(reason) is not None and _OF_ONE_FILE.search(reason) is None
