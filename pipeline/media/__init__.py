"""Read video, audio and subtitles of unknown files: probe them, plan clips, and extract frames, sound and text."""
