package search_test

import (
	"fmt"

	"github.com/seed-5482dd03/secrets/internal/search"
)

func Example() {
	s := search.New("[...]", 8, func(string) bool { return true })
	s.Add("P@ss/w0rd 12")
	for _, text := range []string{
		`postgres://app:P%40ss%2Fw0rd+12@db`,
		`{"body":"{\"password\":\"P\\u0040ss\\/w0rd 12\"}"}`,
		`<a title="P&#64;ss/w0rd 12">`,
		`UEBzcy93MHJkIDEy`,
	} {
		masked, _ := s.Mask(text)
		fmt.Println(masked)
	}
	// Output:
	// postgres://app:[...]@db
	// {"body":"{\"password\":\"[...]\"}"}
	// <a title="[...]">
	// [...]
}

func ExampleStream() {
	s := search.New("[...]", 8, func(string) bool { return true })
	s.Add("s3cr3t-value")
	stream := s.Stream()
	for _, piece := range []string{"a line s3cr3", "x\n", "a line s\n", `a line s\u00`, "33cr3t-value\n"} {
		out, _ := stream.Next([]byte(piece))
		fmt.Printf("%q passes on %q\n", piece, out)
	}
	// Output:
	// "a line s3cr3" passes on "a line "
	// "x\n" passes on "s3cr3x\n"
	// "a line s\n" passes on "a line s\n"
	// "a line s\\u00" passes on "a line "
	// "33cr3t-value\n" passes on "[...]\n"
}
