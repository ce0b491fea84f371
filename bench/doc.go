// Bench prints the figures that README.md and docs/performance.md state, as tables in Markdown:
//
//	go -C bench run .
//
// It needs Go, and a network for the modules of the competitors only. It takes some ten minutes, most of which the row without a cache
// needs for its 360,000 calls. Flags make it shorter:
//
//	go -C bench run . -only hit,size         # of hit, calls, outage and size
//	go -C bench run . -rounds 6 -for 100ms   # of hit
//	go -C bench run . -secrets 1000          # of hit; default 100
//	go -C bench run . -only hit -svg ../docs/hits.svg
//
// Bench is a module of its own, so that the competitors are in nobody else's go.sum.
//
// # The tables
//
// Hit is the time of a read from memory. Every row is called through the same function type, in the same shuffled order,
// with keys at other addresses than those that it stores. The rows take turns in rounds. A figure is the median of the rounds, and a ratio
// is the median of the ratios to lru.Cache in the same round: on a shared machine, ratios say more than times. The row "nothing" is the
// harness itself.
//
// Calls is what a server sees of ten secrets that are each read ten times a second for an hour. Outage is what these readers get while
// the server fails for half an hour. Both pass in the virtual time of testing/synctest, and the server is a real one on loopback, outside
// of the bubble: see wire. So a read takes no time but what it waits for, and the longest read of a healthy server is zero.
//
// Size is the binary of a small program, and the number of modules in it.
//
// Each table has controls: rows or columns whose right figure is known. The tests fail if one is wrong.
//
// # Why the command runs tests
//
// Only a test can make a bubble of testing/synctest. The command therefore runs the test TestClaims of its own directory, which writes
// the tables to a file, and prints that file. Without the command, TestClaims measures less, and checks the controls.
package main
