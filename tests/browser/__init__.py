"""The page in a real Chromium, through a real Envoy, against a real server. A package, so that its browser ends with it."""
