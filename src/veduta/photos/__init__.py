"""A person's own photo library: looked through, grouped, shown; changed only when asked, and then undone when asked."""
