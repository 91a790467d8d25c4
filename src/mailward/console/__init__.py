"""What `mailward run` does over HTTP: health for monitors, metrics, a page to ask for mail."""
