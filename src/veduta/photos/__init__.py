"""A person's own photo library: looked through, grouped, shown, and changed only when asked, so that it can be undone."""
