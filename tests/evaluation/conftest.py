"""A store of S3 on the loopback."""

from collections.abc import Iterator

import pytest

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"
}  # fmt: skip


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**_ENVIRONMENT, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        import fsspec

        fsspec.filesystem("s3").mkdir("ganfast-test")
        yield "s3://ganfast-test"
    server.stop()
