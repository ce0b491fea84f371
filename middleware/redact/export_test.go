package redact

// Base64Core is exported for the tests.
var Base64Core = base64Core
