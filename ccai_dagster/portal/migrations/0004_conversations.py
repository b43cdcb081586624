"""Conversations of raters with two arms at once."""

import django.db.models.deletion
from django.db import migrations, models

import ccai_dagster.portal.models

KEY = models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    dependencies = [("portal", "0003_duties")]

    operations = [
        migrations.CreateModel(
            name="Conversation",
            fields=[
                ("id", KEY),
                ("key", models.CharField(max_length=16, unique=True)),
                ("rater", models.CharField(max_length=100)),
                ("quality", models.CharField(max_length=20)),
                ("arms", models.JSONField()),
                ("ended", models.BooleanField(default=False)),
            ],
        ),
        migrations.CreateModel(
            name="Turn",
            fields=[
                ("id", KEY),
                ("number", models.IntegerField()),
                ("said", models.TextField()),
                ("said_at", models.BigIntegerField(default=ccai_dagster.portal.models.now)),
                ("answers", models.JSONField(null=True)),
                ("rating", models.CharField(blank=True, default="", max_length=3)),
                ("went_on_with", models.IntegerField(null=True)),
                ("reason", models.TextField(blank=True, default="")),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="turns", to="portal.conversation"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("conversation", "number"), name="one_turn_each"),
                    models.CheckConstraint(
                        condition=models.Q(rating__in=("", "1", "2", "tie")), name="a_choice_is_one_of_three"
                    ),
                ]
            },
        ),
    ]
