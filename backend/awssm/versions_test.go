package awssm_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

// versioned answers with a secret that has one version, with the given id and stages.
func versioned(id string, stages ...string) func(*awstest.Request) *awstest.Response {
	const head = `{"ARN":"arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf","Name":"db","SecretString":"v",`
	return func(r *awstest.Request) *awstest.Response {
		answer := &awstest.Response{Body: head + `"VersionId":"` + id + `","VersionStages":["` + strings.Join(stages, `","`) + `"]}`}
		const missing = "Secrets Manager can't find the specified secret value for "
		switch {
		case r.VersionID != "" && r.VersionID != id:
			return awstest.Fault("ResourceNotFoundException", missing+"VersionId: "+r.VersionID)
		case r.Stage != "" && !slices.Contains(stages, r.Stage):
			return awstest.Fault("ResourceNotFoundException", missing+"staging label: "+r.Stage)
		default:
			return answer
		}
	}
}

func TestEveryVersionOfMetaCanBePinned(t *testing.T) {
	for _, id := range []string{
		"12345678-1234-1234-1234-123456789abc", "terraform-20250627043834191900000095", strings.Repeat("a", 32), strings.Repeat("Z9-", 21) + "x",
		"under_score.and/slash:plus+0123456789", strings.Repeat("é", 32),
	} {
		t.Run(id, func(t *testing.T) {
			is := is.New(t)
			server, _, b := service(t, 0)
			server.Handle(versioned(id, "AWSCURRENT"))
			c := client(t, b)
			s, err := c.Get(t.Context(), "db")
			is.NoErr(err)
			is.Equal(s.Meta().Version, id)
			pinned, err := c.Get(t.Context(), "db?version="+s.Meta().Version)
			is.NoErr(err)
			is.Equal(pinned.Meta().Version, id)
			is.Equal(server.Count(getOne), 2) // one call for the pin
		})
	}
}

func TestALongStageIsFoundByItsName(t *testing.T) {
	is := is.New(t)
	server, _, b := service(t, 0)
	long := strings.Repeat("blue", 10)
	server.Handle(versioned(strings.Repeat("v", 32), "AWSCURRENT", long, "short"))
	c := client(t, b)
	for stage, calls := range map[string]int{long: 2, "short": 1, "AWSCURRENT": 1} { // a long stage is tried as an id first
		server.ResetCalls()
		_, err := c.Get(t.Context(), "db?version="+stage)
		is.NoErr(err)
		is.Equal(server.Count(getOne), calls)
	}
	// After a denial, the stage is not tried.
	server.ResetCalls()
	server.Handle(func(r *awstest.Request) *awstest.Response {
		if r.VersionID == "" {
			return nil
		}
		return awstest.Fault("AccessDeniedException", "")
	})
	_, err := c.Get(t.Context(), "db?version="+long)
	is.True(errors.Is(err, secrets.ErrPermissionDenied))
	is.Equal(server.Count(getOne), 1)
}

func TestAMissingVersionHasAnotherTextThanAMissingSecret(t *testing.T) {
	server, _, b := service(t, 0)
	server.Put("db", "v")
	c := client(t, b)
	for key, want := range map[string]string{
		"db?version=latest":                                    "the stage is missing: no version of the secret has it",
		"db?version=" + strings.Repeat("x", 40):                "the version is missing: no version of the secret has that ID, or that stage",
		"db?version=12345678-1234-1234-1234-123456789abc":      "the version is missing",
		"missing?version=latest":                               "there is no such secret",
		"missing?version=12345678-1234-1234-1234-123456789abc": "there is no such secret",
		"missing": "there is no such secret",
	} {
		is := is.New(t)
		_, err := c.Get(t.Context(), key)
		is.True(errors.Is(err, secrets.ErrNotFound))
		is.True(strings.Contains(err.Error(), want)) // key
	}
}

// The answer to a pinned version must be for that version, whatever the server sends.
func TestAPinIsAnsweredByItsVersion(t *testing.T) {
	const (
		head = `{"ARN":"arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf","Name":"db","SecretString":"` + canary + `"`
		id   = "12345678-1234-1234-1234-123456789abc"
	)
	for name, c := range map[string]struct {
		version, rest string
		class         error
	}{
		"the stage":         {"AWSPREVIOUS", `,"VersionStages":["AWSPREVIOUS","x"]`, nil}, // the control
		"another stage":     {"AWSPREVIOUS", `,"VersionStages":["AWSCURRENT"]`, secrets.ErrMalformed},
		"no stage":          {"AWSPREVIOUS", `,"VersionId":"` + id + `"`, secrets.ErrMalformed},
		"the version":       {id, `,"VersionId":"` + id + `"`, nil}, // the control
		"another version":   {id, `,"VersionId":"22345678-1234-1234-1234-123456789abc"`, secrets.ErrMalformed},
		"no version at all": {id, ``, secrets.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			server, _, b := service(t, 0)
			server.Handle(func(*awstest.Request) *awstest.Response { return &awstest.Response{Body: head + c.rest + "}"} })
			_, err := b.Fetch(t.Context(), secrets.Ref{Path: "db", Version: c.version})
			is.Equal(secrets.Class(err), c.class)
			is.Equal(server.Count(getOne), 1)
		})
	}
}
