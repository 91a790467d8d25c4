"""What `mailward run` tells about itself over HTTP: health for monitors, metrics."""
