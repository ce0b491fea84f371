package secretkeys_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/env"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

var fields = secretkeys.Fields("id", "key")

// document returns a secret whose id and key are in fields.
func document(id, key string) string { return `{"id":"` + id + `","key":"` + key + `"}` }

// isActive fails the test unless that key signs and verifies under that id.
func isActive(t *testing.T, keys *secretkeys.Keys, id, key string) {
	t.Helper()
	is := is.New(t)
	gotID, got := keys.Active()
	is.Equal(gotID, id)
	is.Equal(got.Reveal(), key)
	verifies(t, keys, id, key)
}

// verifies fails the test unless that id has that key; a key of "" means that the id is unknown.
func verifies(t *testing.T, keys *secretkeys.Keys, id, key string) {
	t.Helper()
	got, ok := keys.ByID(id)
	is.New(t).Equal(got.Reveal(), key)
	is.New(t).Equal(ok, key != "")
}

func TestFieldsOfAnEnvironmentVariable(t *testing.T) {
	is := is.New(t)
	t.Setenv("SIGNING", document("a", "key a"))
	keys, err := secretkeys.Open(t.Context(), open(t, env.New()), "signing", fields)
	is.NoErr(err)
	defer keys.Close()
	isActive(t, keys, "a", "key a")
}

// With a backend that has versions, the id comes from the field; everything else is as without Fields.
func TestFieldsOfABackendWithVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newShared()
		backend.Set("signing", document("a", "key a"))
		after(time.Hour)
		backend.Set("signing", document("b", "key b"))
		keys := keysOf(t, backend, fields)
		isActive(t, keys, "a", "key a")
		verifies(t, keys, "b", "key b")
		verifies(t, keys, "3", "")
		after(time.Minute)
		isActive(t, keys, "b", "key b")
		verifies(t, keys, "a", "key a")

		backend.Set("signing", document("c", "key c"))
		after(seen)
		isActive(t, keys, "b", "key b")
		verifies(t, keys, "c", "key c")
		after(time.Minute)
		isActive(t, keys, "c", "key c")
	})
}

func TestKeyWithAKnownIDReplacesItsKeyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newShared()
		backend.Set("signing", document("a", "key a"))
		keys := keysOf(t, backend, fields)
		backend.Set("signing", document("a", "another"))
		after(seen)
		isActive(t, keys, "a", "another")
	})
}

// A version that changes neither field is not a rotation.
func TestVersionWithTheSameFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := newShared()
		backend.Set("signing", document("a", "key a"))
		backend.Set("signing", `{"id":"a","key":"key a","note":"x"}`)
		keys := keysOf(t, backend, fields)
		isActive(t, keys, "a", "key a")
		backend.Set("signing", `{"id":"a","key":"key a","note":"y"}`)
		after(time.Hour)
		isActive(t, keys, "a", "key a")
		is.NoErr(keys.Err())
	})
}

// Fields may be in a nested document.
func TestFieldsOfAField(t *testing.T) {
	is := is.New(t)
	backend := newShared()
	backend.Set("app", `{"signing":`+document("a", "key a")+`,"other":"text"}`)
	keys, err := secretkeys.Open(t.Context(), open(t, backend), "app#signing", fields)
	is.NoErr(err)
	isActive(t, keys, "a", "key a")
	is.NoErr(keys.Close())
	_, err = secretkeys.Open(t.Context(), open(t, &shared{Backend: secretstest.NewBackend(map[string]string{
		"app": `{"other":"canary-7f3Kq9ZxWv2m"}`,
	})}), "app#other", fields)
	is.True(errors.Is(err, secrets.ErrMalformed))
	secretstest.AssertNoLeak(t, "canary-7f3Kq9ZxWv2m", err)
}

func TestInvalidFieldsAreErrors(t *testing.T) {
	const canary = "canary-7f3Kq9ZxWv2m"
	const (
		at   = "secrets: fake: signing: "
		noID = at + `malformed: the field "id" of Fields: it is not an id: 1 to 128 printable ASCII characters without a space`
	)
	withFields := []secretkeys.Option{fields}
	for name, tc := range map[string]struct {
		content string
		opts    []secretkeys.Option
		class   error
		want    string // prefix of the error; "" for none
	}{
		"a document":  {document("2026-11.a/b+c=_~", canary), withFields, nil, ""},
		"a number":    {`{"id":7,"key":"` + canary + `"}`, withFields, nil, ""},
		"a long id":   {document(strings.Repeat("a", 128), canary), withFields, nil, ""},
		"too long":    {document(strings.Repeat("a", 129), canary), withFields, secrets.ErrMalformed, noID},
		"an empty id": {document("", canary), withFields, secrets.ErrMalformed, noID},
		"a space":     {document("a "+canary, canary), withFields, secrets.ErrMalformed, noID},
		"a line":      {document(`a\n`, canary), withFields, secrets.ErrMalformed, noID},
		"not ASCII":   {document("ä", canary), withFields, secrets.ErrMalformed, noID},
		"a NUL":       {document(`a\u0000`, canary), withFields, secrets.ErrMalformed, noID},
		"the key as id": {
			document(canary, canary), withFields, secrets.ErrMalformed, at + `malformed: the field "id" of Fields: it is the same as the key`,
		},
		"no id": {
			`{"key":"` + canary + `"}`, withFields, secrets.ErrFieldNotFound, at + `field not found: the field "id" of Fields: `,
		},
		"no key": {
			`{"id":"a","other":"` + canary + `"}`, withFields, secrets.ErrFieldNotFound, at + `field not found: the field "key" of Fields: `,
		},
		"a null": {
			`{"id":"` + canary + `","key":null}`, withFields, secrets.ErrFieldNotFound, at + `field not found: the field "key" of Fields: `,
		},
		"no document": {canary, withFields, secrets.ErrMalformed, at + `malformed: the field "id" of Fields: `},
		"an empty key": {
			document(canary, ""), withFields, secrets.ErrMalformed, at + `malformed: the field "key" of Fields: the key is empty`,
		},
		"an empty secret": {"", nil, secrets.ErrMalformed, at + "malformed: the key is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			backend := newShared()
			backend.Set("signing", tc.content)
			keys, err := secretkeys.Open(t.Context(), open(t, backend), "signing", tc.opts...)
			if tc.want == "" {
				is.NoErr(err)
				_, key := keys.Active()
				is.Equal(key.Reveal(), canary)
				is.NoErr(keys.Close())
				return
			}
			is.True(errors.Is(err, tc.class))
			if !strings.HasPrefix(err.Error(), tc.want) {
				t.Error(err)
			}
			secretstest.AssertNoLeak(t, canary, err)
		})
	}
}

// A later error leaves the keys unchanged.
func TestLaterInvalidFieldsKeepTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		backend := newShared()
		backend.Set("signing", document("a", "key a"))
		keys := keysOf(t, backend, fields)
		backend.Set("signing", document("b", ""))
		after(seen)
		is.True(errors.Is(keys.Err(), secrets.ErrMalformed))
		after(time.Hour)
		isActive(t, keys, "a", "key a")
		verifies(t, keys, "b", "")
		backend.Set("signing", document("b", "key b"))
		after(seen)
		is.NoErr(keys.Err())
		verifies(t, keys, "b", "key b")
	})
}
