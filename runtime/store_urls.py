"""The store that a URL names: the one place that knows which kinds there are."""

from urllib.parse import unquote, urlsplit

from runtime.errors import UserInputError
from runtime.store import Store
from runtime.store_retries import RetryingStore


def open_reliable_store(url: str) -> Store:
    """``open_store``, with requests tried again where that may help: what everyone but a worker wants, which counts
    its tries. Raises UserInputError as that."""
    return RetryingStore(open_store(url))


def open_store(url: str) -> Store:
    """The store named by ``file:///absolute/folder`` or ``s3://bucket``.

    Raises:
        UserInputError: another scheme, or no folder or bucket named.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path not in ("", "/"):
        from runtime.store_directory import DirectoryStore

        return DirectoryStore(unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc and parts.path in ("", "/"):
        from runtime.store_s3 import S3Store

        return S3Store(parts.netloc)
    raise UserInputError(f"a store is file:///folder or s3://bucket (given: {url!r})")
