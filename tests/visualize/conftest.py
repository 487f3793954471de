"""`call` for the tests of this folder."""

from tests.commands import call as call
