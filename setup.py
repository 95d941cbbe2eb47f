"""What pyproject.toml cannot say: the project's addresses, which come from outside.

They are read from the same two variables as the site's (see mkdocs.yml). While these are empty, the
package names no address.
"""

import os

from setuptools import setup

repository = os.environ.get("MNIST_STEPS_REPOSITORY", "").rstrip("/").removesuffix(".git")
site = os.environ.get("MNIST_STEPS_SITE_URL", "")
addresses = {
    "Source": repository,
    "Issues": repository and f"{repository}/issues",
    "Documentation": site,
}

setup(project_urls={name: address for name, address in addresses.items() if address})
