"""What an account may decide; those there were before moderate."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("portal", "0002_people_and_feedback")]

    operations = [
        migrations.AddField(
            model_name="account", name="duties", field=models.CharField(default="moderate", max_length=100)
        )
    ]
