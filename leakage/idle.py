"""Rules that change no figure, by name; in a module that those who read figures can import."""

from __future__ import annotations

IDLE = ("background", "cores", "memory")
"""They say how fast a game is played, and within which memory."""
