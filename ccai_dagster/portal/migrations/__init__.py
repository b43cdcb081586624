"""Changes of the database, each with its own module; Django writes them (`makemigrations`)."""
