"""What has to hold before a deployment is ready for production, and how that is shown."""
