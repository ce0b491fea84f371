package secrets_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
)

// The hints of ParseRef. They are part of the contract, because people read them.
const (
	hintEmpty     = "the key is empty"
	hintLong      = "the path is longer than 512 bytes"
	hintLongKey   = "the key is longer than 2048 bytes"
	hintUTF8      = "not valid UTF-8"
	hintControl   = "control, format or line-separator character"
	hintNoPath    = "the path is empty"
	hintLeading   = "begins with a slash"
	hintTrailing  = "ends with a slash"
	hintSegment   = "an empty segment"
	hintDots      = "a segment . or .."
	hintPercent   = "a % in a path is written %25"
	hintQuery     = "the only query is ?version=V"
	hintNoVersion = "the version is empty"
	hintOrder     = "the version comes before the field"
	hintVersion   = "without a second parameter"
)

func badKeys() map[string]string {
	return map[string]string{
		"":                                       hintEmpty,
		"#":                                      hintNoPath,
		"#field":                                 hintNoPath,
		"##":                                     hintNoPath,
		"?version=1":                             hintNoPath,
		"?version=1#f":                           hintNoPath,
		"/":                                      hintLeading,
		"//":                                     hintLeading,
		"/a":                                     hintLeading,
		"/a/b#c":                                 hintLeading,
		"/etc/passwd":                            hintLeading,
		"//host/share":                           hintLeading,
		"a/":                                     hintTrailing,
		"a/b/":                                   hintTrailing,
		"a/#f":                                   hintTrailing,
		"a/?version=1":                           hintTrailing,
		"a//":                                    hintTrailing,
		"a//b":                                   hintSegment,
		"a///b":                                  hintSegment,
		"a/b//c#f":                               hintSegment,
		".":                                      hintDots,
		"..":                                     hintDots,
		"./a":                                    hintDots,
		"../a":                                   hintDots,
		"../../etc/passwd":                       hintDots,
		"a/.":                                    hintDots,
		"a/..":                                   hintDots,
		"a/./b":                                  hintDots,
		"a/../b":                                 hintDots,
		"a/../../x":                              hintDots,
		"../sys/seal-status":                     hintDots,
		"..#f":                                   hintDots,
		"..?version=1":                           hintDots,
		"%":                                      hintPercent,
		"a%":                                     hintPercent,
		"a%2":                                    hintPercent,
		"a%2f":                                   hintPercent,
		"a%2Fb":                                  hintPercent,
		"%2e%2e/a":                               hintPercent,
		"%2E%2E":                                 hintPercent,
		"%00":                                    hintPercent,
		"a%0Ab":                                  hintPercent,
		"a%3f":                                   hintPercent, // one spelling only, so that a key is its Ref's String
		"a%zz":                                   hintPercent,
		"a%%":                                    hintPercent,
		"100%":                                   hintPercent,
		"a% b":                                   hintPercent,
		"a?":                                     hintQuery,
		"a?#f":                                   hintQuery,
		"a?v=1":                                  hintQuery,
		"a?version":                              hintQuery,
		"a?Version=1":                            hintQuery,
		"a?VERSION=1":                            hintQuery,
		"a? version=1":                           hintQuery,
		"a?versionId=1":                          hintQuery,
		"a??version=1":                           hintQuery,
		"a?field=x&version=1":                    hintQuery,
		"a?version=":                             hintNoVersion,
		"a?version=#f":                           hintNoVersion,
		"a?version=1&x=2":                        hintVersion,
		"a?version=1&":                           hintVersion,
		"a?version=&":                            hintVersion,
		"a#f?version=1":                          hintOrder,
		"a#?version=1":                           hintOrder,
		"a?version=1#f?version=":                 hintOrder,
		"a#b#c?version=2":                        hintOrder,
		"\x00":                                   hintControl,
		"a\x00b":                                 hintControl,
		"a\nb":                                   hintControl,
		"a\r\nSet-Cookie: x":                     hintControl,
		"a\tb":                                   hintControl,
		"a\x1b[31mb":                             hintControl,
		"a\x7fb":                                 hintControl,
		"a\u0085b":                               hintControl, // next line
		"a\u200bb":                               hintControl, // zero-width space
		"a\u200db":                               hintControl, // zero-width joiner
		"a\u202eb":                               hintControl, // right-to-left override
		"a\u2066b":                               hintControl, // isolate
		"a\u2028b":                               hintControl, // line separator
		"a\u2029b":                               hintControl, // paragraph separator
		"\ufeffa":                                hintControl, // byte order mark
		"a\u00adb":                               hintControl, // soft hyphen
		"a\U000e0041b":                           hintControl, // tag character
		"a#f\n":                                  hintControl,
		"a#\u202ef":                              hintControl,
		"a?version=\x00":                         hintControl,
		"a?version=1\u200b":                      hintControl,
		"\xff":                                   hintUTF8,
		"a\xc0\xafb":                             hintUTF8, // an overlong slash
		"a\xed\xa0\x80b":                         hintUTF8, // half of a surrogate pair
		"a\xe2\x82":                              hintUTF8, // a cut character
		"a#\xff":                                 hintUTF8,
		"a?version=\xff":                         hintUTF8,
		"a\ufffd\xff":                            hintUTF8, // after a real replacement character
		strings.Repeat("a", 513):                 hintLong,
		strings.Repeat("a/", 400):                hintLong,
		"a#" + strings.Repeat("f", 2047):         hintLongKey,
		"a?version=" + strings.Repeat("1", 2039): hintLongKey,
		"arn:" + strings.Repeat("x", 2045):       hintLongKey,
		strings.Repeat("x", 513) + "#f":          hintLong,
		strings.Repeat("é", 257):                 hintLong,
		strings.Repeat("x", 9000):                hintLongKey,
		strings.Repeat("../", 171):               hintLong,
		"a/" + strings.Repeat("\x00", 511) + "/" + "../etc/passwd": hintLong,
	}
}

func TestParseRefRefuses(t *testing.T) {
	bad := badKeys()
	if len(bad) < 80 {
		t.Errorf("%d bad keys, want at least 80", len(bad))
	}
	for key, hint := range bad {
		t.Run(brief(key), func(t *testing.T) {
			is := is.New(t)
			ref, err := secrets.ParseRef(key)
			is.Equal(ref, secrets.Ref{})
			var e *secrets.Error
			is.True(errors.As(err, &e))
			is.Equal(e.Err, secrets.ErrInvalidKey)
			is.Equal(e.Key, key)
			if !strings.Contains(e.Detail, hint) {
				t.Errorf("%q: the hint is %q, want %q", key, e.Detail, hint)
			}
			checkPrintable(t, err.Error())
		})
	}
}

// checkPrintable fails for a text that would break or forge a log line.
func checkPrintable(t *testing.T, text string) {
	t.Helper()
	if len(text) > 1000 {
		t.Errorf("a text of %d bytes: %s", len(text), brief(text))
	}
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x2028 && r <= 0x202e || r == 0x200b || r == 0xfeff {
			t.Errorf("%U in %q", r, text)
			return
		}
	}
}

func TestParseRefAccepts(t *testing.T) {
	long := strings.Repeat("a", 512)
	good := map[string]secrets.Ref{
		"database":                             {Path: "database"},
		"database#password":                    {Path: "database", Field: "password"},
		"database/password":                    {Path: "database/password"},
		"database/password#":                   {Path: "database/password", Whole: true},
		"database#":                            {Path: "database", Whole: true},
		"database?version=3":                   {Path: "database", Version: "3"},
		"database?version=3#password":          {Path: "database", Version: "3", Field: "password"},
		"database?version=3#":                  {Path: "database", Version: "3", Whole: true},
		"a?version=AWSPREVIOUS":                {Path: "a", Version: "AWSPREVIOUS"},
		"a?version=0":                          {Path: "a", Version: "0"},
		"a?version=1?version=2":                {Path: "a", Version: "1?version=2"}, // opaque
		"a?version=a=b":                        {Path: "a", Version: "a=b"},
		"a?version=v/1 %23":                    {Path: "a", Version: "v/1 %23"}, // verbatim
		"a#b#c":                                {Path: "a", Field: "b#c"},
		"a##":                                  {Path: "a", Field: "#"},
		"a#b?c":                                {Path: "a", Field: "b?c"},
		"a#b.c.0":                              {Path: "a", Field: "b.c.0"},
		"a# ":                                  {Path: "a", Field: " "},
		"a#%23":                                {Path: "a", Field: "%23"}, // verbatim
		"a#..":                                 {Path: "a", Field: ".."},
		"a#/b/":                                {Path: "a", Field: "/b/"},
		"a%23b":                                {Path: "a#b"},
		"a%3Fb":                                {Path: "a?b"},
		"a%25b":                                {Path: "a%b"},
		"a%2523":                               {Path: "a%23"}, // once only
		"%25":                                  {Path: "%"},
		"%23%3F%25#%":                          {Path: "#?%", Field: "%"},
		"%252e%252e/a":                         {Path: "%2e%2e/a"},
		"a%3Fversion=1":                        {Path: "a?version=1"},
		"...":                                  {Path: "..."},
		"..a/.b/c..":                           {Path: "..a/.b/c.."},
		"..data":                               {Path: "..data"},
		"a b":                                  {Path: "a b"},
		" ":                                    {Path: " "},
		`a\b`:                                  {Path: `a\b`},
		"C:/x":                                 {Path: "C:/x"},
		"~/x":                                  {Path: "~/x"},
		"-":                                    {Path: "-"},
		"é/日本/🔑":                               {Path: "é/日本/🔑"},
		"e\u0301":                              {Path: "e\u0301"}, // no normalisation
		"a\u00a0b":                             {Path: "a\u00a0b"},
		"a\ufffdb":                             {Path: "a\ufffdb"}, // the replacement character itself
		"arn:aws:sm:eu:1:secret:x-Ab12":        {Path: "arn:aws:sm:eu:1:secret:x-Ab12"},
		"rds!db-0123":                          {Path: "rds!db-0123"},
		"a&b=c;d":                              {Path: "a&b=c;d"},
		"$HOME/`id`":                           {Path: "$HOME/`id`"},
		long:                                   {Path: long},
		long + "?version=" + long + "#" + long: {Path: long, Version: long, Field: long}, // the limit is that of the path
		"arn:" + long + long:                   {Path: "arn:" + long + long},
		strings.Repeat("%25", 512):             {Path: strings.Repeat("%", 512)},
		strings.Repeat("%25", 170) + "aa":      {Path: strings.Repeat("%", 170) + "aa"},
		"a?version=" + long[:502]:              {Path: "a", Version: long[:502]},
		"a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p#":     {Path: "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p", Whole: true},
	}
	if len(good) < 30 {
		t.Errorf("%d good keys, want at least 30", len(good))
	}
	for key, want := range good {
		t.Run(brief(key), func(t *testing.T) {
			is := is.New(t)
			got, err := secrets.ParseRef(key)
			is.NoErr(err)
			is.Equal(got, want)
			is.Equal(got.String(), key)
		})
	}
}

// Two keys must never give one Ref: otherwise a policy on keys could be bypassed.
func TestParseRefIsOneToOne(t *testing.T) {
	is := is.New(t)
	for key := range badKeys() {
		_, err := secrets.ParseRef(key)
		is.True(err != nil)
	}
	seen := map[secrets.Ref]string{}
	for _, key := range []string{"a", "a#", "a#b", "a/b", "a/b#", "a%23b", "a%3Fb", "a%25b", "a?version=b", "a?version=b#", "a##b"} {
		ref, err := secrets.ParseRef(key)
		is.NoErr(err)
		is.Equal(seen[ref], "")
		seen[ref] = key
	}
}

// badRefs returns refs that ParseRef never returns.
func badRefs() map[string]secrets.Ref {
	return map[string]secrets.Ref{
		"zero": {}, "up": {Path: "../sys/seal-status"}, "absolute": {Path: "/etc/passwd"}, "double": {Path: "a//b"}, "dot": {Path: "a/./b"},
		"nul": {Path: "a\x00b"}, "newline": {Path: "a", Version: "1\nX-Header: y"}, "bidi": {Path: "a\u202e"}, "utf8": {Path: "a\xff"},
		"long": {Path: strings.Repeat("a", 513)}, "long in all": {Path: strings.Repeat("a", 500), Field: strings.Repeat("b", 2000)},
		"long when escaped": {Path: "arn:" + strings.Repeat("%", 700)}, "field": {Path: "a", Field: "x\n"},
		"both":             {Path: "a", Field: "x", Whole: true},
		"version in field": {Path: "a", Field: "x?version=1"}, "hash in version": {Path: "a", Version: "1#x"},
		"query in version": {Path: "a", Version: "1&x=1"},
	}
}

// Validate accepts exactly the refs that ParseRef returns.
func TestRefValidate(t *testing.T) {
	for name, ref := range badRefs() {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			err := ref.Validate()
			checkClass(t, err, secrets.ErrInvalidKey)
			checkPrintable(t, err.Error())
			parsed, err := secrets.ParseRef(ref.String())
			is.True(err != nil || parsed != ref)
		})
	}
	for _, key := range []string{"a", "a/b", "a#b", "a#", "a?version=1", "a/b?version=1#c", "a%23b", "é/日本"} {
		is := is.New(t)
		ref, err := secrets.ParseRef(key)
		is.NoErr(err)
		is.NoErr(ref.Validate())
	}
}

// A refused key causes no I/O: keys may come from users, and must not reach a server.
func TestRefusedKeysCostNoIO(t *testing.T) {
	backend := newFake("good", "value")
	client := open(t, backend.resolvedBy(func(r secrets.Ref) secrets.Ref { backend.calls.Add(1); return r }))
	for key := range badKeys() {
		t.Run(brief(key), func(t *testing.T) {
			is := is.New(t)
			check := func(err error) {
				t.Helper()
				var e *secrets.Error
				is.True(errors.As(err, &e))
				is.Equal(e.Err, secrets.ErrInvalidKey)
				is.Equal(e.Key, key)
				is.True(!errors.Is(err, secrets.ErrNotFound))
			}
			_, err := client.Get(t.Context(), key)
			check(err)
			s, err := client.GetOr(t.Context(), key, "default")
			check(err)
			is.True(s.IsZero()) // a bad key has no default
			_, err = client.Has(t.Context(), key)
			check(err)
			_, err = client.Refresh(t.Context(), key)
			check(err)
			many, err := client.GetMany(t.Context(), key, key)
			check(err)
			is.Equal(len(many), 0)
			client.Invalidate(key)
			is.Equal(backend.calls.Load(), int64(0))
		})
	}
	t.Run("control", func(t *testing.T) {
		is := is.New(t)
		_, err := client.Get(t.Context(), "good")
		is.NoErr(err)
		is.True(backend.calls.Load() > 0) // the counter counts
	})
}

func FuzzParseRef(f *testing.F) {
	for key := range badKeys() {
		f.Add(key)
	}
	for _, key := range []string{"a", "a#b", "a/b#", "a?version=1#b", "%23%3F%25", "a#b#c"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		ref, err := secrets.ParseRef(key)
		if err != nil {
			var e *secrets.Error
			if !errors.As(err, &e) || e.Err != secrets.ErrInvalidKey || e.Detail == "" || ref != (secrets.Ref{}) {
				t.Fatalf("%q: %v, %#v", key, err, ref)
			}
			checkPrintable(t, err.Error())
			return
		}
		if ref.String() != key {
			t.Fatalf("%q comes back as %q", key, ref.String())
		}
		if ref.Path == "" || len(key) > 2048 || !utf8.ValidString(key) || ref.Whole && ref.Field != "" {
			t.Fatalf("%q is accepted as %#v", key, ref)
		}
		for segment := range strings.SplitSeq(ref.Path, "/") {
			if segment == "" || segment == "." || segment == ".." {
				t.Fatalf("%q is accepted as %#v", key, ref)
			}
		}
	})
}

// FuzzRef makes refs as middleware may. A ref that Validate accepts is the result of ParseRef for exactly one key.
func FuzzRef(f *testing.F) {
	f.Add("a", "b", "1", false)
	f.Add("a/b", "", "", true)
	f.Add("#?%", "#?%", "?version=", false)
	f.Add("a", "f?version=1", "", false)
	f.Add("a", "", "1#x", false)
	f.Add("a", "", "1&x", false)
	f.Add("a", "b", "", true)
	f.Add("../a", "", "", false)
	f.Add(strings.Repeat("%", 200), "", "", false)
	f.Add(strings.Repeat("a", 500), strings.Repeat("b", 12), "", false)
	f.Fuzz(func(t *testing.T, path, field, version string, whole bool) {
		ref := secrets.Ref{Path: path, Field: field, Version: version, Whole: whole}
		backend := failing(func(context.Context, secrets.Ref) (secrets.Secret, error) {
			return secrets.NewSecret("value", secrets.Meta{}), nil
		})
		rewrite := secrets.Intercept(func(ctx context.Context, _ secrets.Ref, next secrets.Fetcher) (secrets.Secret, error) {
			return next.Fetch(ctx, ref)
		})
		client, err := secrets.New(backend, secrets.WithMiddleware(rewrite))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		_, err = client.Get(context.Background(), "any")
		parsed, parseErr := secrets.ParseRef(ref.String())
		accepted := backend.calls.Load() > 0
		if valid := ref.Validate() == nil; valid != accepted {
			t.Fatalf("%#v: accepted %t, valid %t", ref, accepted, valid)
		}
		same := parseErr == nil && parsed == ref
		if accepted != same {
			t.Fatalf("%#v: accepted %t (%v); its key is %q, which is %#v (%v)", ref, accepted, err, ref.String(), parsed, parseErr)
		}
		if !accepted && !errors.Is(err, secrets.ErrInvalidKey) {
			t.Fatalf("%#v: %v", ref, err)
		}
	})
}
