"""An S3 of a test's own: moto's server on a thread, and addresses of folders in its bucket."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["object_store"]


@contextmanager
def object_store() -> Iterator[str]:
    """The beginning and the end of addresses in a bucket, with `{}` between for a folder."""
    from moto.server import ThreadedMotoServer  # it takes a second
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        rest = f"endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        files, root = fs.FileSystem.from_uri(f"s3://test:secret-word@shop?{rest}&allow_bucket_creation=true")
        files.create_dir(root)
        yield f"s3://test:secret-word@shop/{{}}?{rest}"
    finally:
        server.stop()
