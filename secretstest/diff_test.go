package secretstest_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

type (
	database struct {
		User     string
		Port     int
		Password secrets.Secret
	}
	config struct {
		DB       database
		Replica  *database
		Tokens   map[string]secrets.Secret
		Many     []secrets.Secret
		Pair     [2]secrets.Secret
		Any      any
		DSN      string
		Raw      []byte
		Since    time.Time
		Wait     time.Duration
		Hook     func()
		hidden   secrets.Secret
		attempts int
		next     *config
	}
	ownSecret secrets.Secret
	quiet     string
)

func (quiet) String() string { return "[quiet]" }

const diffCanary = "canary-7f3Kq9ZxWv2m"

func newSecret(value string) secrets.Secret {
	return secrets.NewSecret(value, secrets.Meta{Backend: "b", FetchedAt: time.Now()})
}

// full returns a config with a Secret in every place that can hold one.
func full(value string) *config {
	return &config{
		DB:      database{User: "app", Port: 5432, Password: newSecret(value)},
		Replica: &database{Password: newSecret(value)},
		Tokens:  map[string]secrets.Secret{"ci": newSecret(value)},
		Many:    []secrets.Secret{newSecret(value), {}},
		Pair:    [2]secrets.Secret{newSecret(value), newSecret(value)},
		Any:     ownSecret(newSecret(value)),
		hidden:  newSecret(value),
		next:    &config{Any: []any{map[string]any{"a": newSecret(value)}}},
	}
}

func TestDiffOfEqualValuesIsEmpty(t *testing.T) {
	now := time.Now()
	one := 1
	for name, pair := range map[string][2]any{
		"nil":                       {nil, nil},
		"Secrets of different Meta": {full("x"), full("x")},
		"zero Secrets":              {secrets.Secret{}, secrets.Secret{}},
		"empty Secrets":             {newSecret(""), newSecret("")},
		"pointers":                  {&one, new(1)},
		"times":                     {now, now.UTC().Round(0)},
		"the same pointer":          {&config{Hook: func() {}}, nil},
		"nil functions":             {config{}, config{}},
		"bytes":                     {[]byte("a"), []byte("a")},
		"nil maps":                  {map[string]int(nil), map[string]int(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			if name == "the same pointer" {
				pair[1] = pair[0]
			}
			is.Equal(secretstest.Diff(pair[0], pair[1]), "")
		})
	}
	is := is.New(t)
	is.True(!reflect.DeepEqual(full("x"), full("x"))) // the reason for Diff
}

func TestDiffNamesEachDifference(t *testing.T) {
	hour := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tc := range map[string]struct {
		got, want any
		lines     string
	}{
		"nil and a value": {nil, 1, "value: got nil, want type int"},
		"a value and nil": {1, nil, "value: got type int, want nil"},
		"types":           {1, "1", "value: got type int, want type string"},
		"own type":        {quiet("a"), "a", "value: got type secretstest_test.quiet, want type string"},
		"numbers":         {1, 2, "value: got 1, want 2"},
		"texts":           {"a\nb", "", `value: got "a\nb", want ""`},
		"bools":           {true, false, "value: got true, want false"},
		"floats":          {1.5, math.Inf(1), "value: got 1.5, want +Inf"},
		"complex numbers": {1i, 2i, "value: got (0+1i), want (0+2i)"},
		"redacting text":  {quiet("a"), quiet("b"), "value: values differ"},
		"durations":       {config{Wait: 300}, config{Wait: time.Second}, ".Wait: got 300ns, want 1s"},
		"times": {config{Since: hour}, config{Since: hour.Add(time.Second)},
			`.Since: got "2026-01-02T03:04:05Z", want "2026-01-02T03:04:06Z"`},
		"Secrets":     {newSecret("a"), newSecret("b"), "value: secrets differ"},
		"zero Secret": {secrets.Secret{}, newSecret(""), "value: secrets differ: got is the zero Secret"},
		"wanted zero": {newSecret(""), secrets.Secret{}, "value: secrets differ: want is the zero Secret"},
		"Secret type": {ownSecret(newSecret("a")), ownSecret(newSecret("b")), "value: secrets differ"},
		"nested": {config{DB: database{Port: 1, Password: newSecret("a")}}, config{DB: database{Port: 2, Password: newSecret("b")}},
			".DB.Port: got 1, want 2\n.DB.Password: secrets differ"},
		"nil pointer":    {config{Replica: &database{}}, config{}, ".Replica: got type *secretstest_test.database, want nil"},
		"wanted pointer": {config{}, config{Replica: &database{}}, ".Replica: got nil, want type *secretstest_test.database"},
		"unexported fields": {config{hidden: newSecret("a"), attempts: 1}, config{hidden: newSecret("b"), attempts: 2},
			".hidden: secrets differ\n.attempts: got 1, want 2"},
		"elements":    {[]int{1, 2, 3}, []int{1, 3}, "value: got 3 elements, want 2\n[1]: got 2, want 3"},
		"nil slice":   {[]int(nil), []int{}, "value: got nil, want type []int"},
		"arrays":      {[2]int{1, 2}, [2]int{1, 3}, "[1]: got 2, want 3"},
		"bytes":       {[]byte("abc"), []byte("ab"), "value: bytes differ: got 3 bytes, want 2"},
		"byte arrays": {[1]byte{1}, [1]byte{2}, "value: bytes differ: got 1 bytes, want 1"},
		"map": {map[string]int{"a": 1, "b": 2, "d": 4}, map[string]int{"a": 1, "b": 3, "c": 4},
			"[\"b\"]: got 2, want 3\n[\"c\"]: missing\n[\"d\"]: not wanted"},
		"map of numbers": {map[int]bool{1: true}, map[int]bool{1: false}, "[1]: got true, want false"},
		"map of any":     {map[any]int{"a": 1, 2: 1}, map[any]int{"a": 2, 2: 2}, "[\"a\"]: got 1, want 2\n[2]: got 1, want 2"},
		"map of structs": {map[[1]int]int{{1}: 1}, map[[1]int]int{{1}: 2}, "[[1]int]: got 1, want 2"},
		"interfaces":     {[]any{1, nil, "a"}, []any{"1", 2, "a"}, "[0]: got type int, want type string\n[1]: got nil, want type int"},
		"functions":      {config{Hook: func() {}}, config{}, ".Hook: functions cannot be compared"},
		"channels":       {make(chan int), make(chan int), "value: values differ"},
		"a long text":    {strings.Repeat("a", 200), "", `value: got "` + strings.Repeat("a", 128) + `"…, want ""`},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(secretstest.Diff(tc.got, tc.want), tc.lines)
		})
	}
}

func TestDiffHandlesCycles(t *testing.T) {
	is := is.New(t)
	ring := func(value string) *config {
		c := full(value)
		c.next.next = c
		c.Any = c
		return c
	}
	is.Equal(secretstest.Diff(ring("a"), ring("a")), "")
	is.True(strings.Contains(secretstest.Diff(ring("a"), ring("b")), ".DB.Password: secrets differ"))
	list, other := []any{1, nil}, []any{2, nil}
	list[1], other[1] = list, other
	is.Equal(secretstest.Diff(list, list), "")
	is.Equal(secretstest.Diff(list, other), "[0]: got 1, want 2")
	m, n := map[string]any{}, map[string]any{"x": 1}
	m["m"], n["m"] = m, n
	is.Equal(secretstest.Diff(m, n), "[\"x\"]: missing")
}

func TestDiffNeverShowsASecret(t *testing.T) {
	with := func(change func(c *config)) *config {
		c := full(diffCanary)
		change(c)
		return c
	}
	for name, got := range map[string]any{
		"another value":            full("another-" + diffCanary),
		"nothing":                  nil,
		"a text":                   diffCanary,
		"a Secret":                 newSecret(diffCanary),
		"the zero value":           &config{},
		"a pointer to a Secret":    new(newSecret(diffCanary)),
		"a text that holds it":     with(func(c *config) { c.DSN = "postgres://app:" + diffCanary + "@db" }),
		"a text in an interface":   with(func(c *config) { c.Any = diffCanary }),
		"bytes":                    with(func(c *config) { c.Raw = []byte(diffCanary) }),
		"the key of a map":         with(func(c *config) { c.Tokens[diffCanary] = newSecret("x") }),
		"the key of a map of any":  with(func(c *config) { c.Any = map[any]int{diffCanary: 1} }),
		"a list that is too short": with(func(c *config) { c.Many = c.Many[:1]; c.Any = []any{diffCanary} }),
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			for _, lines := range []string{secretstest.Diff(got, full(diffCanary)), secretstest.Diff(full(diffCanary), got)} {
				is.True(lines != "")
				secretstest.AssertNoLeak(t, diffCanary, lines)
			}
		})
	}
	// Control: a text without a Secret's value is shown.
	is := is.New(t)
	is.True(strings.Contains(secretstest.Diff(config{DSN: diffCanary}, config{}), diffCanary))
	is.True(strings.Contains(secretstest.Diff(map[string]int{diffCanary: 1}, map[string]int{}), diffCanary))
	is.True(strings.Contains(fmt.Sprint(config{DSN: diffCanary}), diffCanary))
}

// A hidden text still counts as a difference, and the line gives the reason.
func TestDiffSaysWhyATextIsNotShown(t *testing.T) {
	is := is.New(t)
	got, want := full(diffCanary), full(diffCanary)
	got.DSN = "x" + diffCanary
	is.Equal(secretstest.Diff(got, want), ".DSN: values differ; they are not shown, since one contains the value of a Secret")
	got, want = full(diffCanary), full(diffCanary)
	got.Tokens[diffCanary] = secrets.Secret{}
	is.Equal(secretstest.Diff(got, want), ".Tokens[…]: not wanted")
}
