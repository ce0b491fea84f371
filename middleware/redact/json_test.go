package redact_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/middleware/redact"
)

// encoding/json stops at a depth of 10,000: json.Valid in every version of Go, its Decoder since Go 1.27.
func TestDepthDoesNotEndADocument(t *testing.T) {
	is := is.New(t)
	const depth = 30_000
	array := strings.Repeat("[", depth) + `"value-one"` + strings.Repeat("]", depth)
	object := strings.Repeat(`{"a":`, depth) + `"value-one"` + strings.Repeat("}", depth)
	for _, document := range []string{array, object} {
		is.True(redact.IsDocument(document))
		is.True(!json.Valid([]byte(document))) // the control
		is.Equal(redact.Leaves(document), []string{"value-one"})
		is.Equal(redact.Leaves(`["before",`+document+`,"after"]`), []string{"before", "value-one", "after"})
		is.True(!redact.IsDocument(document[1:]))
		is.True(!redact.IsDocument(document[:len(document)-1]))
	}
}

func TestTheLeavesOfADocument(t *testing.T) {
	for document, want := range map[string][]string{
		``: nil, ` `: nil, `12`: nil, `true`: nil, `x "a"`: nil, `,"a"`: nil, "\x00\"a\"": nil, "[\x00\"a\"]": nil,
		`{}`: nil, `[]`: nil, `[true,false,null]`: nil, `{"key":null}`: nil,
		`"a" "b"[1]{"k":"c"}`:                 {"a", "b", "1", "c"},
		" [ \"a\" ,\r\n\t1 ] ":                {"a", "1"},
		` { "k" : { "l" : [ "a" , { } ] } } `: {"a"},
		`[-1.5E+10,0,1e-3]`:                   {"-1.5E+10", "0", "1e-3"},
		`["\u0061\"\\\/\n","\ud834\udd1e"]`:   {"a\"\\/\n", "𝄞"},
		`["\ud834","` + "\xff" + `","é"]`:     {"\ufffd", "\ufffd", "é"},
		`["a",]`:                              {"a"}, `["a"}`: {"a"}, `{"k":"a"]`: {"a"}, `["a":"b"]`: {"a"}, `["a""b"]`: {"a"}, `["a" 1]`: {"a"},
		`{"k":"a",}`: {"a"}, `{"k" "a"}`: nil, `{"k","a"}`: nil, `{"k":}`: nil, `{"k":,"l":"a"}`: nil, `{1:"a"}`: nil, `{,"k":"a"}`: nil,
		`["a",01]`: {"a"}, `["a",tru]`: {"a"}, `["a",-]`: {"a"}, `["a","\x41"]`: {"a"}, `["a","b`: {"a"}, `["a","b\`: {"a"},
		"[\"a\",\"\n\"]": {"a"},
		`["a",12`:        {"a", "12"}, `["a",12x`: {"a", "12"}, `["a"]]"b"`: {"a"}, `"a","b"`: {"a"},
	} {
		if got := redact.Leaves(document); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", document, got, want)
		}
	}
}

// Up to the depth that encoding/json allows, both agree on what is JSON.
func FuzzIsDocument(f *testing.F) {
	for _, seed := range []string{
		`{}`, `[]`, `{"a":[1,true,null,"x\u00e9"]}`, ` [{"a":{}},-1.5e+10] `, `{"a":1,"a":2}`, `[1,]`, `{"a"}`, `{"a":1]`, `[]]`, `[] []`,
		`[tru]`, `[01]`,
		"[\"\xff\"]", "[\"\n\"]", `["\x"]`, `["\`, "[]\x00", `"a"`, `1`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first := strings.TrimLeft(text, " \t\r\n")
		want := (strings.HasPrefix(first, "{") || strings.HasPrefix(first, "[")) && json.Valid([]byte(text))
		if got := redact.IsDocument(text); got != want && strings.Count(text, "[")+strings.Count(text, "{") <= 10_000 {
			t.Errorf("%q is a document: %v, want %v", text, got, want)
		}
	})
}
