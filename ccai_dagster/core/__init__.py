"""What every part of the project rests on: text made safe, files written whole. It knows no other room."""
