"""A guest's image: the image's Python beside Azure's SDK, without OpenIMDS's settings."""

import shutil
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from tests.containers.engine import podman

NAME = "localhost/my-program"
NEEDS = ("azure-identity", "azure-core", "msal", "msal-extensions", "requests", "urllib3")
MORE = ("certifi", "charset-normalizer")
CONTAINERFILE = """
FROM localhost/openimds
COPY site /usr/local/lib/python3.11/dist-packages
USER 20001:20001
WORKDIR /
ENV OPENIMDS_LISTEN= OPENIMDS_CHECK_HOSTS= OPENIMDS_STATE=
ENTRYPOINT []
CMD ["python3"]
"""


def build_guest() -> None:
    """Build the image from the packages of this test run, which are pure Python."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for package in (*NEEDS, *MORE):
            for file in distribution(package).files or ():
                if ".." in file.parts or file.suffix in {".pyc", ".so"}:
                    continue
                target = folder / "site" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(str(file.locate())), target)
        (folder / "Containerfile").write_text(CONTAINERFILE)
        podman("build", "--quiet", "--format=docker", "--network=none", f"--tag={NAME}", name)
