"""From the text of an AppSpec file to an AppSpec, or to every problem in it with its line; no file is touched here."""
