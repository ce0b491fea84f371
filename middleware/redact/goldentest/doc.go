// Package goldentest tests middleware/redact with the outputs of real libraries. It has no code of its own, and is a module of
// its own, so that zap, zerolog, logrus and others stay out of the go.mod of the library.
//
// A writer is one way in which a library prints a text, such as encoding/json or html/template in an attribute. The tests give
// each value of testdata/values.json to each writer, hand the output to a Redactor that knows the value, and look at what is
// left: the mark, and nothing of the value, neither as it is nor as it was printed. They do it for one writer, for each pair,
// for three at random, and for each place in which a Write may cut a text.
//
//	go test ./...                       # every pair with two of the values, 10,000 random triples
//	LONG_TESTS=1 go test -race ./...    # every pair with every value, 100,000 triples, as in CI
//	go test -v -run Pair ./...          # how many outputs there are, and how many are missed
//
// To add a writer in Go, add a line to the table in writers_test.go. To add one in Python, PHP or JavaScript, add a line to
// testdata/generate.py, .php or .js, run testdata/generate.sh, and say in data_test.go if it prints JSON or encodes bytes. To
// add a value, add it to testdata/values.json and run testdata/generate.sh.
//
// What a Redactor is known to miss stands in misses_test.go, which fails if that changes.
package goldentest
