"""What Ray schedules: one thin file per deployment, no business rule."""
