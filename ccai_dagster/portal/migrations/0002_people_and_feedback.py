"""Answers about the people who take part, feedback, and raters."""

import django.db.models.deletion
from django.db import migrations, models

import ccai_dagster.portal.models


class Migration(migrations.Migration):
    dependencies = [("portal", "0001_initial")]

    operations = [
        migrations.AddField(model_name="account", name="rates", field=models.BooleanField(default=False)),
        migrations.CreateModel(
            name="Feedback",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.TextField()),
                ("sent_at", models.BigIntegerField(default=ccai_dagster.portal.models.now)),
            ],
        ),
        migrations.CreateModel(
            name="Demographic",
            fields=[
                ("id", models.AutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("question", models.CharField(max_length=100)),
                ("answer", models.TextField()),
                (
                    "participant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="demographics",
                        to="portal.participant",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("participant", "question"), name="one_answer_each")]
            },
        ),
    ]
