"""What Django is told of this package."""

from django.apps import AppConfig


class Portal(AppConfig):
    """The one application; tables begin with its label."""

    name = "ccai_dagster.portal"
    label = "portal"
