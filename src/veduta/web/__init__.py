"""The page and the services over HTTP, behind the extra ``[serve]``."""
