"""A show: the decision that the controller answers, with a document of the admin listener."""

from typing import NamedTuple

from redirect.core.routes import Route


class Show(NamedTuple):
    route: Route

    @property
    def document(self) -> str:
        assert self.route.show is not None
        return self.route.show
