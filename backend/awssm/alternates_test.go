package awssm_test

import (
	"errors"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// alternatesOf returns the versions of the alternates of ref. Apart from the version, each must equal ref.
func alternatesOf(t *testing.T, b *awssm.Backend, ref secrets.Ref) []string {
	t.Helper()
	versions := []string{}
	for _, other := range b.Info().Alternates(ref) {
		versions = append(versions, other.Version)
		other.Version = ref.Version
		is.New(t).Equal(other, ref)
	}
	return versions
}

func TestAlternates(t *testing.T) {
	const id = "12345678-1234-1234-1234-123456789abc"
	b := of(t, awstest.NewServer(t))
	for version, want := range map[string][]string{
		"":            {"AWSPENDING", "AWSPREVIOUS"},
		id:            {"AWSPENDING", "AWSPREVIOUS"},
		"AWSCURRENT":  {"AWSPENDING", "AWSPREVIOUS"},
		"blue":        {"AWSPENDING", "AWSPREVIOUS"},
		"awspending":  {"AWSPENDING", "AWSPREVIOUS"}, // another stage
		"AWSPENDING":  {"AWSPREVIOUS"},
		"AWSPREVIOUS": {"AWSPENDING"},
	} {
		for _, ref := range []secrets.Ref{{Path: "db"}, {Path: "prod/db"}, {Path: "db", Field: "a"}, {Path: "db", Whole: true}, {Path: arn}} {
			ref.Version = version
			is.New(t).Equal(alternatesOf(t, b, ref), want)
		}
	}
}

// The values of the alternates of the current version, in each step of a rotation.
func TestAlternatesInARotation(t *testing.T) {
	is := is.New(t)
	server := awstest.NewServer(t)
	b := of(t, server)
	first := server.Put("db", "first")
	fetch := func(version string) (value string, err error) {
		server.ResetCalls()
		s, err := b.Fetch(t.Context(), secrets.Ref{Path: "db", Version: version})
		is.Equal(server.Count("*"), 1)
		return s.Reveal(), err
	}
	alternates := func() (values []string) {
		s, err := b.Fetch(t.Context(), secrets.Ref{Path: "db"})
		is.NoErr(err)
		for _, version := range alternatesOf(t, b, secrets.Ref{Path: "db", Version: s.Meta().Version}) {
			value, err := fetch(version)
			if err != nil {
				is.Equal(secrets.Class(err), secrets.ErrNotFound)
				value = "none"
			}
			values = append(values, value)
		}
		return values
	}
	is.Equal(alternates(), []string{"none", "none"})

	second := server.PutVersion("db", "second", "AWSPENDING") // createSecret, then setSecret and testSecret
	is.Equal(alternates(), []string{"second", "none"})

	server.Promote("db") // finishSecret
	is.Equal(alternates(), []string{"second", "first"})

	for id, want := range map[string]string{first: "first", second: "second"} {
		value, err := fetch(id)
		is.NoErr(err)
		is.Equal(value, want)
	}
}

// A stage that no version has is not found, read alone or together with a batch, which returns current versions only.
func TestAMissingStageIsNotFound(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 3)
	c := client(t, b)
	for _, stage := range []string{"AWSPENDING", "AWSPREVIOUS"} {
		_, err := b.Fetch(t.Context(), secrets.Ref{Path: names[0], Version: stage})
		is.Equal(secrets.Class(err), secrets.ErrNotFound)
		_, err = b.Fetch(t.Context(), secrets.Ref{Path: "missing", Version: stage})
		is.Equal(secrets.Class(err), secrets.ErrNotFound)

		pinned := names[0] + "?version=" + stage
		server.ResetCalls()
		found, err := c.GetMany(t.Context(), append(names, pinned)...)
		is.Equal(len(found), len(names))
		failed, ok := errors.AsType[secrets.Errors](err)
		is.True(ok)
		is.Equal(len(failed), 1)
		is.Equal(failed[0].Key, pinned)
		is.Equal(failed[0].Err, secrets.ErrNotFound)
		is.Equal(server.Count(getOne), 1)
		is.Equal(server.Count(getMany), 1)
	}
}

// A policy with a condition on secretsmanager:VersionStage denies one alternate. The other one and batches still work.
func TestADeniedAlternateDoesNotAffectOthers(t *testing.T) {
	is := is.New(t)
	server, names, b := service(t, 3)
	server.Put(names[0], "second")
	server.PutVersion(names[0], "third", "AWSPENDING")
	remove := server.Handle(func(r *awstest.Request) *awstest.Response {
		if r.Stage != "AWSPENDING" {
			return nil
		}
		return awstest.Fault("AccessDeniedException", "")
	})
	pending, previous := secrets.Ref{Path: names[0], Version: "AWSPENDING"}, secrets.Ref{Path: names[0], Version: "AWSPREVIOUS"}
	_, err := b.Fetch(t.Context(), pending)
	is.Equal(secrets.Class(err), secrets.ErrPermissionDenied)
	s, err := b.Fetch(t.Context(), previous)
	is.NoErr(err)
	is.Equal(s.Reveal(), valueOf(names[0]))

	server.ResetCalls()
	_, err = client(t, b).GetMany(t.Context(), names...)
	is.NoErr(err)
	is.Equal(server.Count(getMany), 1)
	is.Equal(server.Count("*"), 1)

	remove()
	s, err = b.Fetch(t.Context(), pending)
	is.NoErr(err)
	is.Equal(s.Reveal(), "third") // the control
}
