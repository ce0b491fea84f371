// Package goldentest holds nothing but tests.
package goldentest
