"""The embedded consultation: a fictional town, its simulated public and everything its team decided."""
