// Package otheruser runs a part of a test with the file permissions of another user. Tests that run as root need it: file modes do not
// restrict root. It works on Linux only.
package otheruser
