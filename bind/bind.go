package bind

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/seed-5482dd03/secrets"
)

// Load returns a T filled from the secrets of client that its tags name; see the package comment. It reads them with one
// [secrets.Client.GetMany], so secrets of one path have the same version.
//
// If secrets are missing, unreadable or malformed, Load returns the zero T and an error with one line per field:
//
//	secrets: bind: Config.DB.Password (database#password): vault: field not found: …
//
// Each line is a [*secrets.Error], so errors.Is finds all classes. A value that does not fit is [secrets.ErrMalformed]. The error quotes no
// value. Faults of T and a nil client are errors without a class.
func Load[T any](ctx context.Context, client *secrets.Client) (T, error) {
	p, err := planFor[T](client)
	if err != nil {
		var zero T
		return zero, err
	}
	value, _, err := load[T](ctx, client, p)
	return value, err
}

// Keys returns the keys of all secrets that [Load] reads for a T, without duplicates, in the order of its fields. They are what a policy
// must allow. Keys panics if T has faults, since callers cannot handle them.
func Keys[T any]() []string {
	p, err := newPlan(reflect.TypeFor[T]())
	if err != nil {
		panic(err)
	}
	return p.keys()
}

// planFor returns the plan to fill a T from client.
func planFor[T any](client *secrets.Client) (plan, error) {
	p, err := newPlan(reflect.TypeFor[T]())
	if client == nil {
		err = errors.Join(err, errors.New("secrets: bind: a nil Client"))
	}
	return p, err
}

// load is Load with the plan p. It also returns the secrets by key.
func load[T any](ctx context.Context, client *secrets.Client, p plan) (T, map[string]secrets.Secret, error) {
	var value, zero T
	found, err := client.GetMany(ctx, p.keys()...)
	if err := p.fill(reflect.ValueOf(&value).Elem(), found, err); err != nil {
		return zero, nil, err
	}
	return value, found, nil
}

// fill sets the fields of v to the results of a GetMany of the keys.
func (p plan) fill(v reflect.Value, found map[string]secrets.Secret, err error) error {
	failed := make(map[string]*secrets.Error)
	if all, ok := errors.AsType[secrets.Errors](err); ok {
		for _, e := range all {
			failed[e.Key] = e
		}
	}
	var errs []error
	for _, f := range p {
		s, failure := found[f.key], failed[f.key]
		if f.optional && errors.Is(failure, secrets.ErrNotFound) {
			if f.fallback == nil {
				continue
			}
			s, failure = f.defaultSecret(), nil
		}
		if failure == nil {
			failure = f.set(v, s)
		}
		if failure != nil {
			errs = append(errs, &fieldError{f.name, f.key, failure})
		}
	}
	return errors.Join(errs...)
}

// defaultSecret returns the Secret that GetOr would return.
func (f *field) defaultSecret() secrets.Secret {
	return secrets.NewSecret(*f.fallback, secrets.Meta{Backend: "default", FetchedAt: time.Now()})
}

// set sets the field of v to the content of s.
func (f *field) set(v reflect.Value, s secrets.Secret) *secrets.Error {
	detail := f.decode(v.FieldByIndex(f.index), s)
	if detail == "" {
		return nil
	}
	err := secrets.NewError(secrets.ErrMalformed, detail)
	err.Backend, err.Key = s.Meta().Backend, f.key
	return err
}

// fieldError is the failure of one field.
type fieldError struct {
	field, key string
	err        *secrets.Error
}

// Error returns the text of the failure, with the key only once.
func (e *fieldError) Error() string {
	rest := *e.err
	rest.Key = ""
	return prefix + e.field + " (" + e.key + "): " + strings.TrimPrefix(rest.Error(), "secrets: ")
}

func (e *fieldError) Unwrap() error { return e.err }
