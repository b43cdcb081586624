"""The first tables of the portal."""

import django.db.models.deletion
from django.db import migrations, models

import ccai_dagster.portal.models


class Migration(migrations.Migration):
    initial = True

    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="Account",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                ("name", models.CharField(max_length=100, unique=True)),
                ("role", models.CharField(max_length=100)),
            ],
            options={"abstract": False},
        ),
        migrations.CreateModel(
            name="Participant",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("code_digest", models.CharField(max_length=64, unique=True)),
                ("joined_at", models.BigIntegerField(default=ccai_dagster.portal.models.now)),
            ],
        ),
        migrations.CreateModel(
            name="Statement",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.TextField()),
                ("key", models.TextField(unique=True)),
                ("is_seed", models.BooleanField(default=False)),
                ("created_at", models.BigIntegerField(default=ccai_dagster.portal.models.now)),
                (
                    "author",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="statements",
                        to="portal.participant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Vote",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("value", models.SmallIntegerField()),
                ("voted_at", models.BigIntegerField(default=ccai_dagster.portal.models.now)),
                ("minimum_decision", models.CharField(blank=True, default="", max_length=200)),
                (
                    "participant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="votes", to="portal.participant"
                    ),
                ),
                (
                    "statement",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="votes", to="portal.statement"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("participant", "statement"), name="one_vote_each"),
                    models.CheckConstraint(
                        condition=models.Q(("value__in", (-1, 0, 1))), name="a_vote_is_one_of_three"
                    ),
                ]
            },
        ),
    ]
