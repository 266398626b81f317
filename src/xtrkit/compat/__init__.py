"""The names and calls of other late-interaction libraries, on xtrkit, for those who move (``docs/moving.md``)."""
