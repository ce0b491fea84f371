// Package otheruser lets a part of a test see the file system as another user does. Tests that run as root need it: to root, no mode of
// a file is a denial. It works on Linux alone.
package otheruser
