package bind_test

import (
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/bind"
)

// faulty checks that Load, Watch and Keys report exactly the faults want, and read nothing.
func faulty[T any](want ...string) func(t *testing.T) {
	return func(t *testing.T) {
		t.Helper()
		is := is.New(t)
		client, backend := open(t, map[string]string{"v": "1"})
		_, err := bind.Load[T](t.Context(), client)
		is.True(err != nil)
		is.Equal(lines(err), want)
		live, byWatch := bind.Watch[T](t.Context(), client)
		is.True(live == nil)
		is.Equal(byWatch.Error(), err.Error())
		is.Equal(backend.Calls(), 0)
		func() {
			defer func() { is.Equal(recover().(error).Error(), err.Error()) }()
			bind.Keys[T]()
		}()
	}
}

type (
	unexported string
	pointed    struct {
		V string `secret:"v"`
	}
)

func TestFaultsOfAStruct(t *testing.T) {
	const (
		options = `; there are optional, json and default=VALUE`
		noTag   = ": no field has a tag such as `secret:\"database#password\"`"
		noType  = " holds no secret; for a JSON document, add the option json"
	)
	for name, test := range map[string]func(t *testing.T){
		"not a struct": faulty[int]("secrets: bind: int is not a struct"),
		"a pointer":    faulty[*pointed]("secrets: bind: *bind_test.pointed is not a struct"),
		"an interface": faulty[any]("secrets: bind: interface {} is not a struct"),
		"a leaf":       faulty[time.Time]("secrets: bind: time.Time" + noTag),
		"no tag":       faulty[struct{ V string }]("secrets: bind: struct { V string }" + noTag),
		"no type":      faulty[one[chan int]](fault("V: the type chan int" + noType)),
		"a slice":      faulty[one[[]string]](fault("V: the type []string" + noType)),
		"a map":        faulty[one[map[string]int]](fault("V: the type map[string]int" + noType)),
		"an array":     faulty[one[[4]byte]](fault("V: the type [4]uint8" + noType)),
		"any":          faulty[one[any]](fault("V: the type interface {}" + noType)),
		"a uintptr":    faulty[one[uintptr]](fault("V: the type uintptr" + noType)),
		"two pointers": faulty[one[**int]](fault("V: the type **int" + noType)),
		"a struct's": faulty[struct {
			V *pointed `secret:"v"`
		}]("secrets: bind: V: fields of a pointer cannot be filled; use the struct itself"),
		"a struct's, no tag": faulty[struct{ V *pointed }]("secrets: bind: V: fields of a pointer cannot be filled; use the struct itself, " +
			`or tag it with "-" to leave it alone`),
		"a space before an option": faulty[struct {
			V int `secret:"a#b ,default=1"`
		}](`secrets: bind: V: the key "a#b " begins or ends with a space`),
		"a space in a prefix": faulty[struct {
			V struct {
				W int `secret:"#w"`
			} `secret:" a"`
		}](`secrets: bind: V: the prefix " a" begins or ends with a space`),
		"json of a channel": faulty[oneJSON[chan int]]("secrets: bind: oneJSON[chan int].V: the type chan int holds no JSON value"),
		"json of a function": faulty[oneJSON[*func()]](
			"secrets: bind: oneJSON[*func()].V: the type *func() holds no JSON value"),
		"json of an interface": faulty[oneJSON[error]]("secrets: bind: oneJSON[error].V: the type error holds no JSON value"),
		"a struct without tags": faulty[one[poolSettings]](fault("V: the type bind_test.poolSettings holds no secret, " +
			"and none of its fields has a tag; for a JSON document, add the option json")),
		"no key": faulty[struct {
			A string `secret:""`
			B string `secret:",optional"`
			C struct {
				V string `secret:""`
			} `secret:"c"`
		}]("secrets: bind: A: its tag names no key", "secrets: bind: B: its tag names no key", "secrets: bind: C.V: its tag names no key"),
		"a key that is not valid": faulty[struct {
			A string `secret:"/a"`
			B string `secret:"#b"`
			C string `secret:"c?d"`
			D struct {
				V string `secret:"/v"`
			} `secret:"d"`
		}](
			"secrets: bind: A: secrets: /a: invalid key: the path begins with a slash; "+
				"if that is a name in AWS, use its ARN or awssm.WithPrefix, which may hold the slashes",
			"secrets: bind: B: secrets: #b: invalid key: the path is empty",
			"secrets: bind: C: secrets: c?d: invalid key: the only query is ?version=V; write %3F for a question mark in a path",
			"secrets: bind: D.V: secrets: d//v: invalid key: the path has an empty segment; "+
				"if that is a name in AWS, use its ARN or awssm.WithPrefix, which may hold the slashes",
		),
		"options": faulty[struct {
			A string `secret:"a,Optional"`
			B string `secret:"b,optional,"`
			C string `secret:"c, json,x"`
		}](
			`secrets: bind: A: unknown option "Optional"`+options, `secrets: bind: B: unknown option ""`+options,
			`secrets: bind: C: unknown option " json"`+options, `secrets: bind: C: unknown option "x"`+options,
		),
		"defaults": faulty[struct {
			A int          `secret:"a,default=many"`
			B int          `secret:"b,default="`
			C uint8        `secret:"c,default=256"`
			D picky        `secret:"d,default=refuse"`
			E poolSettings `secret:"e,json,default={\"Max\":\"x\"}"`
			F *bool        `secret:"f,default=optional"`
		}](
			"secrets: bind: A: its default: the value is not a whole number that fits int",
			"secrets: bind: B: its default: the value is not a whole number that fits int",
			"secrets: bind: C: its default: the value is not a whole number that fits uint8",
			"secrets: bind: D: its default: the value was refused by UnmarshalText of *bind_test.picky",
			"secrets: bind: E: its default: the field Max is a string, but the Go type is int",
			"secrets: bind: F: its default: the value is not a bool such as true or false",
		),
		"unexported": faulty[struct {
			unexported `secret:"v"`

			v      string  `secret:"v"`
			p      pointed `secret:"p"`
			q      pointed
			Shown  string `secret:"v"`
			hidden string
		}](
			"secrets: bind: unexported: it is not exported, and cannot be filled",
			"secrets: bind: v: it is not exported, and cannot be filled",
			"secrets: bind: p: it is not exported, and cannot be filled",
			`secrets: bind: q: it has no tag, but its fields have; tag it with the prefix of their keys, which may be empty, `+
				`or with "-" to leave it alone`,
		),
		"prefixes": faulty[struct {
			*pointed

			A pointed `secret:"a#b"`
			B pointed `secret:"b?version=2"`
			C pointed `secret:"c,optional"`
			D pointed `secret:"d#"`
			E pointed `secret:"e/"`
			F pointed
		}](
			`secrets: bind: pointed: fields of a pointer cannot be filled; use the struct itself, or tag it with "-" to leave it alone`,
			`secrets: bind: A: "a#b" has a version or a field; a prefix is a path alone`,
			`secrets: bind: B: "b?version=2" has a version or a field; a prefix is a path alone`,
			`secrets: bind: C: "c" is the prefix of keys, which takes no options`,
			`secrets: bind: D: "d#" has a version or a field; a prefix is a path alone`,
			`secrets: bind: E: as a prefix: secrets: e/: invalid key: the path ends with a slash; `+
				`if that is a name in AWS, use its ARN or awssm.WithPrefix, which may hold the slashes`,
			`secrets: bind: F: it has no tag, but its fields have; tag it with the prefix of their keys, which may be empty, `+
				`or with "-" to leave it alone`,
		),
	} {
		t.Run(name, test)
	}
}

// fault returns the fault of a field of the type one.
func fault(text string) string {
	field, rest, _ := strings.Cut(text, ":")
	_, after, _ := strings.Cut(rest, "the type ")
	name, _, _ := strings.Cut(after, " holds")
	name = strings.ReplaceAll(name, "bind_test.", "github.com/seed-5482dd03/secrets/bind_test.")
	return "secrets: bind: one[" + name + "]." + field + ":" + rest
}

// tree refers to itself in every possible way.
type (
	tree struct {
		Name string `secret:"name"`
		Left *tree
		Rest []tree
		By   map[string]tree
		JSON *tree `secret:"tree,json,optional"`
	}
	loop struct {
		*loop //nolint:unused // found by reflection

		Name string `secret:"name"`
	}
	self  *self
	selfs struct {
		V self `secret:"v"`
	}
	selfsJSON struct {
		V **self `secret:"v,json"`
	}
)

func TestTypesThatReferToThemselves(t *testing.T) {
	is := is.New(t)
	client, _ := open(t, map[string]string{"name": "a", "tree": `{"Left":{"Name":"b"}}`, "v": "1"})
	got, err := bind.Load[tree](t.Context(), client)
	is.NoErr(err)
	is.Equal(got.Name, "a")
	is.Equal(got.Left, nil)
	is.Equal(got.JSON.Left.Name, "b")
	_, err = bind.Load[loop](t.Context(), client)
	is.Equal(err.Error(),
		`secrets: bind: loop.loop: fields of a pointer cannot be filled; use the struct itself, or tag it with "-" to leave it alone`)
	_, err = bind.Load[selfs](t.Context(), client)
	is.Equal(err.Error(), "secrets: bind: selfs.V: the type bind_test.self holds no secret; for a JSON document, add the option json")
	_, err = bind.Load[selfsJSON](t.Context(), client)
	is.Equal(err.Error(), "secrets: bind: selfsJSON.V: the type **bind_test.self holds no JSON value")
}

// Prefixes nest, also through embedded structs.
func TestPrefixes(t *testing.T) {
	type Inner struct {
		Field string `secret:"#field"`
		Path  string `secret:"path"`
		Both  string `secret:"path?version=2#field"`
		Whole string `secret:"#"`
	}
	type inner struct {
		V string `secret:"v"`
	}
	type Outer struct {
		Inner `secret:"embedded"`
		inner `secret:"unexported"`

		Deep struct {
			inner

			Deeper Inner `secret:"c/d"`
			Same   struct {
				V string `secret:"#v"`
			} `secret:""`
		} `secret:"a/b"`
		Escaped struct {
			V string `secret:"#v"`
		} `secret:"50%25"`
	}
	is := is.New(t)
	is.Equal(bind.Keys[Outer](), []string{
		"embedded#field", "embedded/path", "embedded/path?version=2#field", "embedded#",
		"unexported/v",
		"a/b/v", "a/b/c/d#field", "a/b/c/d/path", "a/b/c/d/path?version=2#field", "a/b/c/d#",
		"a/b#v", "50%25#v",
	})
	docs := make(map[string]string)
	for _, key := range bind.Keys[Outer]() {
		ref, err := secrets.ParseRef(key)
		is.NoErr(err)
		docs[ref.Path] = `{"field":"f","v":"v"}`
	}
	client, backend := open(t, docs)
	backend.SetVersion("embedded/path", "2", `{"field":"old"}`)
	backend.SetVersion("a/b/c/d/path", "2", `{"field":"older"}`)
	got, err := bind.Load[Outer](t.Context(), client)
	is.NoErr(err)
	is.Equal(got.Field+got.Both+got.Deep.Deeper.Both+got.Escaped.V+got.Deep.Same.V, "foldoldervv")
	is.Equal(got.V, `{"field":"f","v":"v"}`)
	is.Equal(got.Whole, got.Path)
}
