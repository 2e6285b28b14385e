"""One headless Chromium for all tests of this folder, and pages opened in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.chromium import chromium
from tests.browser.visit import Windows


# Of the package, not of the session: playwright's event loop must be gone before other tests run theirs.
@pytest.fixture(scope="package")
def _windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Windows]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield Windows(browser)


@pytest.fixture
def windows(_windows: Windows) -> Iterator[Windows]:
    yield _windows
    _windows.leave()
