"""Sources of videos: files, folders, object stores, lists, and containers, with the files that belong to each video."""
