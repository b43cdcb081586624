"""What people read: pages for lay readers, each one HTML file.

Belongs here: rendering and phrasing for readers. Doesn't belong here: computing anything that is shown.
"""
