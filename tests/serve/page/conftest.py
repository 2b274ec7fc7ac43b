"""Fixtures of the drawing page's tests: a server of a model, a browser, and the page in it."""

from tests.support.sheet import address as address
from tests.support.sheet import browser as browser
from tests.support.sheet import page as page
from tests.support.sheet import sheet as sheet
