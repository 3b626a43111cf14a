"""From the text of an AppSpec file to an AppSpec, or to every problem in it with its line; nothing here touches the host."""
