"""Where image bytes come from: HTTP, S3, base64, the request itself."""
